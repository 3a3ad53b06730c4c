"""Which case is used for what: 80:20 into development and test, 80:20 into training and validation.

By case, never by slice. The order of cases comes from a hash of seed and name, so that it is the
same on every machine and with every version of every library.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from kidneyseg.errors import DataError
from kidneyseg.files import write_text
from kidneyseg.settings import DataSettings, Part


class Split(Part):
    """Case names by their use. The test names are sealed: nothing before the end reads them."""

    data: str  # fingerprint of the data set
    seed: int
    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the names and their uses."""
        parts = ("training", *self.training, "validation", *self.validation, "test", *self.test)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def split_cases(names: Sequence[str], settings: DataSettings, data: str = "") -> Split:
    """Part case names into training, validation and test.

    Each share is the nearest whole number of cases (a half goes up), at least one: 136 cases give
    87 / 22 / 27, four give 2 / 1 / 1. Raises DataError for fewer than three cases.
    """
    if len(names) < 3:
        raise DataError(
            f"{len(names)} labelled case{'s' * (len(names) != 1)} in the data folder; expected "
            "at least 3: one each for training, validation and test"
        )
    order = sorted(names, key=lambda name: _rank(settings.split_seed, name))
    n_test = _share(len(order), settings.test_fraction, leave=2)
    rest = order[n_test:]
    n_validation = _share(len(rest), settings.validation_fraction, leave=1)
    return Split(
        data=data,
        seed=settings.split_seed,
        training=tuple(sorted(rest[n_validation:])),
        validation=tuple(sorted(rest[:n_validation])),
        test=tuple(sorted(order[:n_test])),
    )


def write_split(split: Split, path: Path) -> None:
    """Write `evaluation_data.json`; a file that is there already must say the same.

    Raises DataError when it does not: its test cases may have been looked at.
    """
    if path.exists():
        if read_split(path) != split:
            raise DataError(f"{path}: holds another split; keep it, and name another runs folder")
        return
    write_text(path, split.model_dump_json(indent=2) + "\n")


def read_split(path: Path) -> Split:
    """Read `evaluation_data.json`. Raises DataError."""
    try:
        return Split.model_validate_json(path.read_text())
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(str(part) for part in detail["loc"]) or "JSON"
        reason = f"{key}: {detail['msg']}"
        raise DataError(f"{path}: not a split that this program wrote ({reason})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a split that this program wrote ({error})") from error


def _rank(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _share(n: int, fraction: float, *, leave: int) -> int:
    return min(max(1, int(n * fraction + 0.5)), n - leave)
