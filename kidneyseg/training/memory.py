"""Keeping the processor's freed memory: activations come and go by the gigabyte at every step."""

import ctypes
import sys

_M_TRIM_THRESHOLD = -1  # of glibc's mallopt(3)
_M_MMAP_THRESHOLD = -3
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask the C library to keep large freed blocks for the next step instead of returning them.

    Without it, glibc maps and faults in every activation anew: a sixth to a third of a step on the
    CPU (`docs/decisions.md`). Does nothing, and returns False, where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, _LARGEST)
    return bool(kept)
