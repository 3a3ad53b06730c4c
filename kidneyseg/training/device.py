"""Which device a training or a prediction runs on."""

import os

import torch

from kidneyseg.errors import SettingsError

# Read once, when a process first uses a GPU: without it, matrix products may differ in last bits.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def find_device(name: str) -> torch.device:
    """Return the device of a name such as cpu or cuda:0; `auto` is the first GPU, else the CPU.

    Raises SettingsError for a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"device {name!r}: expected auto, cpu, cuda or cuda:0") from error
    n_gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        raise SettingsError(f"device {name!r}: this machine has {n_gpus} GPUs that torch can use")
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"device {name!r}: expected auto, cpu, cuda or cuda:0")
    return device


def set_up_gpu(*, deterministic: bool, tf32: bool) -> None:
    """Have a GPU repeat its results bit for bit or be fast, and compute as exactly as asked for."""
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
