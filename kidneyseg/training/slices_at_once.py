"""How many slices go through the network at once: as many as asked for, or as memory holds."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from kidneyseg.errors import TrainingError

T = TypeVar("T")


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
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
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


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory; on the processor only its words tell."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
