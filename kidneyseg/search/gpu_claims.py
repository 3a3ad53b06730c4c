"""Which GPU a worker takes where several workers see them all: one that nobody has claimed.

A claim is an exclusive lock on a file that is named after the GPU, in a folder that the workers of
a machine share. The system gives it back when the worker ends, however it ends.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from filelock import FileLock, Timeout

from kidneyseg.errors import CorrectableError

CLAIM = "claim"  # the value of --device
LOOK_SECONDS = 5.0  # between two looks for a GPU that has become free
CPU = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuClaim:
    """A GPU that nobody else claims, until it is released or its process ends."""

    device: str  # as torch calls it in this process: cuda:0
    uuid: str
    lock: FileLock

    def release(self) -> None:
        """Let others have it."""
        self.lock.release()


@contextmanager
def claimed_device(
    folder: Path,
    gpus: Sequence[str] | None = None,
    *,
    wait: bool = False,
    tell: Callable[[str], object] = lambda _: None,
) -> Iterator[str]:
    """Hold a free GPU while the block lasts, and give its name; the CPU where there are no GPUs.

    `folder` holds the locks; `gpus` are the UUIDs of cuda:0, cuda:1 and so on, by default those
    that this process sees. With `wait` it waits until one is free, and says so once by `tell`.
    Raises CorrectableError where all are taken, and where the folder cannot hold locks.
    """
    seen = visible_gpus() if gpus is None else gpus
    if not seen:
        yield CPU
        return
    claim = _wait_for_gpu(folder, seen, tell) if wait else claim_gpu(folder, seen)
    if claim is None:
        raise CorrectableError(
            f"--device {CLAIM}: {_all_taken(folder, seen)}; expected a free one, or --wait"
        )
    try:
        yield claim.device
    finally:
        claim.release()


def claim_gpu(folder: Path, gpus: Sequence[str]) -> GpuClaim | None:
    """Claim the first GPU that is free; None where all are taken.

    Raises CorrectableError for a folder in which nothing can be locked.
    """
    for number, uuid in enumerate(gpus):
        lock = FileLock(
            folder / f"{_file_name(uuid)}.lock",
            blocking=False,
            thread_local=False,
            fallback_to_soft=False,  # which would outlive a worker that was killed
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            continue
        except (OSError, NotImplementedError) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise CorrectableError(
                f"{folder}: GPUs cannot be claimed there ({words}); expected a folder on a disk of "
                "this machine that its workers share and may write"
            ) from error
        return GpuClaim(device=f"cuda:{number}", uuid=uuid, lock=lock)
    return None


def visible_gpus() -> list[str]:
    """UUIDs of the GPUs that this process may use, in torch's order.

    They are asked for in a process of its own: this one takes no memory of any GPU.
    """
    import torch  # noqa: PLC0415 - a machine without GPUs need not start a process

    if torch.cuda.device_count() == 0:
        return []
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_read_uuids).result()


def _read_uuids() -> list[str]:
    import torch  # noqa: PLC0415 - in the process that is asked

    n_gpus = torch.cuda.device_count()
    return [str(torch.cuda.get_device_properties(number).uuid) for number in range(n_gpus)]


def _wait_for_gpu(folder: Path, gpus: Sequence[str], tell: Callable[[str], object]) -> GpuClaim:
    claim = claim_gpu(folder, gpus)
    if claim is None:
        tell(f"{_all_taken(folder, gpus)}; waiting for a free one")
    while claim is None:
        time.sleep(LOOK_SECONDS)
        claim = claim_gpu(folder, gpus)
    return claim


def _all_taken(folder: Path, gpus: Sequence[str]) -> str:
    n = len(gpus)
    which = "the one GPU here is" if n == 1 else f"all {n} GPUs here are"
    return f"{which} claimed by other workers (locks in {folder})"


def _file_name(uuid: str) -> str:
    """A GPU's UUID as a file's name, with nothing in it that leads to another folder."""
    return "gpu-" + "".join(letter if letter.isalnum() else "-" for letter in uuid)
