"""When a training ends: after so many rises of the validation loss in a row (patience)."""

import math


class LossRises:
    """Counts in how many epochs in a row the loss lay above that of the epoch before.

    The report's run rose in epochs 5 and 6 and, with patience 2, stopped after 6.
    """

    def __init__(self, previous: float = math.inf, in_a_row: int = 0) -> None:
        self.previous = previous  # loss of the epoch before; infinite before the first
        self.in_a_row = in_a_row

    def add(self, loss: float) -> int:
        """Take the loss of the next epoch; return the rises in a row up to it."""
        self.in_a_row = self.in_a_row + 1 if loss > self.previous else 0
        self.previous = loss
        return self.in_a_row
