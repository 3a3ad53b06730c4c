"""How many slices go through the network at once: as many as asked for, or as memory holds."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from kidneyseg.errors import TrainingError

T = TypeVar("T")

OUT_OF_MEMORY = (  # as errors without a type of their own say it
    "can't allocate memory",  # PyTorch on a processor
    "std::bad_alloc",  # C++
    "CUDA error: out of memory",  # the driver, outside PyTorch's own allocator
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)


class SlicesAtOnce:
    """A number of slices that is halved where memory runs out, and stays so."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.n = n
        self._device = device

    def run(self, work: Callable[[int], T], undo: Callable[[], None] = lambda: None) -> T:
        """Do some work with n slices at once; where memory runs out, undo it and halve n.

        The work is begun anew until it is done. Raises TrainingError where one slice is too much.
        """
        while True:
            try:
                return work(self.n)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = (str(error) or type(error).__name__).splitlines()[0]
            # Only here is everything of the failed try gone.
            self._halve(reason)
            undo()

    def _halve(self, reason: str) -> None:
        if self.n == 1:
            raise TrainingError(f"one slice is too much for the memory of {self._device}: {reason}")
        self.n //= 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def cut(indices: Sequence[int], n: int) -> Iterator[Sequence[int]]:
    """The indices in order, n at a time; the last part may be smaller."""
    for first in range(0, len(indices), n):
        yield indices[first : first + n]


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether memory ran out: PyTorch's own word for it, or another library's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in OUT_OF_MEMORY)
