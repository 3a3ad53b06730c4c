"""How much of the processor is ours."""

import os


def count_cores() -> int:
    """The cores that this process may use: fewer than the machine has, in a slot of a cluster."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_cores() -> None:
    """Have threads that wait give their core away soon; to be called before torch is imported.

    GNU OpenMP's threads spin for milliseconds at the end of each parallel part. Alone that gains
    nothing measurable; beside other programs an epoch took four to seven times as long
    (`docs/decisions.md`). What the person has set in the environment stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
