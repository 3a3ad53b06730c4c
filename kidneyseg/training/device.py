"""Which device a training or a prediction runs on."""

import os

import torch

from kidneyseg.errors import SettingsError

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # without it, matrix products on a GPU may differ in last bits


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


def make_repeatable(*, deterministic: bool) -> None:
    """Have a GPU repeat its results bit for bit, or be as fast as it can.

    Raises SettingsError where something in this process has used the GPU before: cuBLAS reads its
    part once.
    """
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    used = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    if deterministic and used and CUBLAS not in os.environ:
        raise SettingsError(
            f"training.deterministic = true: set {CUBLAS}=:4096:8 in the environment first"
        )
    if deterministic:
        os.environ.setdefault(CUBLAS, ":4096:8")
