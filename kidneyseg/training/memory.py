"""Memory: freed blocks kept for the next step, and the most that was taken."""

import ctypes
import sys

import torch

if sys.platform != "win32":
    import resource
else:
    import psutil

_M_TRIM_THRESHOLD = -1  # of glibc's mallopt(3)
_M_MMAP_THRESHOLD = -3
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask the C library to keep large freed blocks for the next step instead of returning them.

    Activations come and go by the gigabyte at every step. Without it, glibc maps and faults in
    every one anew: a sixth to a third of a step on the CPU (`docs/decisions.md`). Does nothing, and
    returns False, where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, _LARGEST)
    return bool(kept)


def begin_peak(device: torch.device) -> None:
    """Measure the peak from here on. Only a GPU's can begin anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory that was taken at once.

    On a GPU what PyTorch's tensors took of it since `begin_peak`; on the CPU the process's largest
    resident set since its start, mapped files and libraries included.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, else KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
