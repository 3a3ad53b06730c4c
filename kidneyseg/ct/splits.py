"""Which case is used for what: 80:20 into development and test, 80:20 into training and validation.

By case, never by slice, and the cases of one patient stay together. The order of patients comes
from a hash of seed and case name, so that it is the same on every machine and with every version of
every library.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
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


Patient = tuple[str, ...]  # the names of one patient's cases


def split_cases(
    names: Sequence[str],
    settings: DataSettings,
    data: str = "",
    patients: Mapping[str, str] | None = None,  # by case name; without it each case has its own
) -> Split:
    """Part case names into training, validation and test.

    Each share is the nearest whole number of cases (a half goes up), at least one: 136 cases give
    87 / 22 / 27, four give 2 / 1 / 1. With several cases of a patient it is as near to that as
    whole patients allow. Raises DataError for fewer than three cases or patients.
    """
    if len(names) < 3:
        raise DataError(
            f"{len(names)} labelled case{'s' * (len(names) != 1)} in the data folder; expected "
            "at least 3: one each for training, validation and test"
        )
    order = _patients(names, patients or {}, settings.split_seed)
    if len(order) < 3:
        raise DataError(
            f"{len(names)} labelled cases of {len(order)} patient{'s' * (len(order) != 1)}; "
            "expected at least 3 patients: one each for training, validation and test"
        )
    test, rest = _take(order, settings.test_fraction, leave=2)
    validation, training = _take(rest, settings.validation_fraction, leave=1)
    return Split(
        data=data,
        seed=settings.split_seed,
        training=_cases_of(training),
        validation=_cases_of(validation),
        test=_cases_of(test),
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


def _patients(names: Sequence[str], patients: Mapping[str, str], seed: int) -> list[Patient]:
    """Case names by patient, in the order of the seed."""
    cases: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        cases[patients.get(name, name)].append(name)
    return sorted(map(tuple, cases.values()), key=lambda patient: _rank(seed, patient[0]))


def _take(
    order: Sequence[Patient], fraction: float, *, leave: int
) -> tuple[list[Patient], list[Patient]]:
    """Take the first patients that make up the share, or come nearest to it; and the others.

    The `leave` with most cases (of equals the last) stay: each use needs a patient.
    """
    by_size = sorted(range(len(order)), key=lambda place: (len(order[place]), place))
    open_ = sorted(by_size[:-leave])
    reachable = [1]  # from each place on: bit n is set where n cases can be made up
    for place in reversed(open_):
        reachable.append(reachable[-1] | reachable[-1] << len(order[place]))
    target = _share(sum(map(len, order)), fraction, leave=leave)
    sums = [n for n in range(1, reachable[-1].bit_length()) if reachable[-1] >> n & 1]
    wanted = min(sums, key=lambda n: abs(n - target))
    taken = set()
    for place, after in zip(open_, reversed(reachable[:-1]), strict=True):
        size = len(order[place])
        if size <= wanted and after >> (wanted - size) & 1:
            taken.add(place)
            wanted -= size
    return (
        [patient for place, patient in enumerate(order) if place in taken],
        [patient for place, patient in enumerate(order) if place not in taken],
    )


def _cases_of(patients: Sequence[Patient]) -> tuple[str, ...]:
    return tuple(sorted(name for patient in patients for name in patient))


def _share(n: int, fraction: float, *, leave: int) -> int:
    return min(max(1, int(n * fraction + 0.5)), n - leave)
