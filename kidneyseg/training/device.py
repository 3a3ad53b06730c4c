"""Which device a training or a prediction runs on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

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


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that a device does not have. Raises SettingsError."""
    if precision == "tf32" and device.type != "cuda":
        raise SettingsError(
            f"training.precision 'tf32' on {device}: only GPUs have it; expected float32 or "
            "bfloat16, or a GPU as common.device"
        )


def slow_precision(precision: str, device: torch.device) -> str | None:
    """A sentence where a device computes in this precision, but gains nothing by it."""
    if precision != "bfloat16" or device.type != "cpu" or _processor_has_bfloat16():
        return None
    return (
        "training.precision 'bfloat16': this processor has no instructions for it (AMX, "
        "AVX512-BF16 or Arm's BF16), so that it rounds as much and is slower than float32"
    )


def _processor_has_bfloat16() -> bool:
    known = torch.cpu.get_capabilities()
    return any(has for name, has in known.items() if "bf16" in name)


def set_up_gpu(*, deterministic: bool, tf32: bool) -> None:
    """Have a GPU repeat its results bit for bit or be fast, and compute as exactly as asked for."""
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    allow_tf32(tf32)


def allow_tf32(tf32: bool) -> None:
    """Let a GPU shorten float32's products, or not: PyTorch by itself shortens convolutions'."""
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32


@contextmanager
def on_threads(n: int | None) -> Iterator[None]:
    """Let the processor compute with n threads for a while; None: as many as now."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
