"""The splits that a runs folder has recorded: what one has sealed, no other there may open.

Another set of cases, another seed or share gives another split and another file. Its training or
validation may hold what an earlier split keeps for the test. Scans are compared by content: names
of phantoms and of KiTS19 are the same, and a case may be renamed.
"""

from collections.abc import Iterator
from pathlib import Path

from kidneyseg.ct.splits import Split, read_split, write_split
from kidneyseg.errors import DataError
from kidneyseg.runs import Runs

NO_TEST = "data.splits_file names all cases: none is left for the test"
NAMED = 3  # opened cases, in a message


def record_split(split: Split, runs: Runs) -> None:
    """Write a split's `evaluation_data.json`, or find it there as it is.

    Raises DataError where a new split would train or validate on a test case of a recorded one,
    and as `write_split` does.
    """
    path = runs.evaluation_data(split.fingerprint)
    if not path.exists():
        for other in sorted(path.parents[1].glob(f"*/{path.name}")):
            _check_sealed(split, other)
    write_split(split, path)


def _check_sealed(split: Split, path: Path) -> None:
    """Refuse a split that would open what the one recorded at `path` has sealed."""
    opened = list(_opened(split, read_split(path)))
    if not opened:
        return
    more = ", ..." if len(opened) > NAMED else ""
    raise DataError(
        f"{path}: {len(opened)} of its test cases ({', '.join(opened[:NAMED])}{more}) would now be "
        "used for training or validation: cases were added or removed, or a setting of the split "
        "was changed. Restore the data folder or the setting, keep to its cases by data.include "
        "or data.splits_file, or name another runs folder (common.runs) with a ledger of its own"
    )


def _opened(split: Split, recorded: Split) -> Iterator[str]:
    """The cases for training and validation whose scan is a test case's of the recorded split.

    A split of an earlier release holds no scans: its names count where the data are the same.
    """
    same_data = recorded.data == split.data
    sealed = {recorded.scans[name] for name in recorded.test if name in recorded.scans}
    for name in (*split.training, *split.validation):
        by_name = same_data and name in recorded.test
        if by_name or split.scans.get(name) in sealed:
            yield name
