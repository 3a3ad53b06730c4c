"""When a training ends: after so many rises of the validation loss in a row (patience)."""


class LossRises:
    """Counts in how many epochs in a row the loss lay above that of the epoch before.

    The report's run rose in epochs 5 and 6 and, with patience 2, stopped after 6.
    """

    def __init__(self) -> None:
        self._previous: float | None = None
        self._in_a_row = 0

    def add(self, loss: float) -> int:
        """Take the loss of the next epoch; return the rises in a row up to it."""
        rose = self._previous is not None and loss > self._previous
        self._in_a_row = self._in_a_row + 1 if rose else 0
        self._previous = loss
        return self._in_a_row
