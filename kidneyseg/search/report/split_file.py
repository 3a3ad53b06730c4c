"""The split of a study's cases, where the runs folder of this machine has it."""

from dataclasses import dataclass

from kidneyseg.ct.splits import Split, read_split
from kidneyseg.errors import DataError
from kidneyseg.model.looks import LEDGER, read_looks
from kidneyseg.runs import Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAtHand:
    """A split, and how often its test cases were looked at."""

    split: Split
    n_looks: int | None  # None: the ledger is damaged


def find_split(runs: Runs, fingerprint: str) -> SplitAtHand | None:
    """The split of a fingerprint; None where it is not at hand, or not as it was written."""
    path = runs.evaluation_data(fingerprint)
    try:
        split = read_split(path)
    except DataError:
        return None
    if split.fingerprint != fingerprint:
        return None
    try:
        looks = [look for look in read_looks(path.with_name(LEDGER)) if look.split == fingerprint]
    except (DataError, OSError):
        return SplitAtHand(split=split, n_looks=None)
    return SplitAtHand(split=split, n_looks=len(looks))
