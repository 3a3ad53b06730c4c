"""Which case is used for what: 80:20 into development and test, 80:20 into training and validation.

By case, never by slice, and the cases of one patient stay together. The order of patients comes
from a hash of seed and case name, so that it is the same on every machine and with every version of
every library. Where strata are known (slice thickness, tumour volume), each use has its share of
every one, to within one patient: they are lined up stratum by stratum, and every so-many-th taken.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
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
    scans: dict[str, str] = {}  # by case name: how the SHA-256 of its scan's file begins

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the names and their uses."""
        parts = ("training", *self.training, "validation", *self.validation, "test", *self.test)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


Patient = tuple[str, ...]  # the names of one patient's cases
Stratum = tuple[int, int]  # classes of slice thickness and of tumour volume, in order


def split_cases(
    names: Sequence[str],
    settings: DataSettings,
    data: str = "",
    patients: Mapping[str, str] | None = None,  # by case name; without it each case has its own
    strata: Mapping[str, Stratum] | None = None,  # by case name
) -> Split:
    """Part case names into training, validation and test.

    Each share is the nearest whole number of cases (a half goes up), at least one: 136 cases give
    87 / 22 / 27, four give 2 / 1 / 1. With several cases of a patient it is as near to that as
    whole patients allow. With folds, validation is one of them. Raises DataError for fewer than
    three cases or patients, and for more folds than patients.
    """
    if len(names) < 3:
        raise DataError(
            f"{len(names)} labelled case{'s' * (len(names) != 1)} in the data folder; expected "
            "at least 3: one each for training, validation and test"
        )
    everyone = _patients(names, patients or {})
    if len(everyone) < 3:
        raise DataError(
            f"{len(names)} labelled cases of {len(everyone)} patient{'s' * (len(everyone) != 1)}; "
            "expected at least 3 patients: one each for training, validation and test"
        )
    line_up = partial(_line_up, seed=settings.split_seed, strata=strata)
    test, rest = _take(line_up(everyone, settings.test_fraction), settings.test_fraction, leave=2)
    if settings.folds is not None:
        validation, training = _fold(line_up(rest), settings.folds, settings.fold)
    else:
        fraction = settings.validation_fraction
        validation, training = _take(line_up(rest, fraction), fraction, leave=1)
    return Split(
        data=data,
        seed=settings.split_seed,
        training=_cases_of(training),
        validation=_cases_of(validation),
        test=_cases_of(test),
    )


class SplitFile(Split):
    """A split as it is written down, with a hash of its names."""

    sha256: str


def write_split(split: Split, path: Path) -> None:
    """Write `evaluation_data.json`; a file that is there already must say the same.

    Raises DataError when it does not: its test cases may have been looked at.
    """
    if path.exists():
        recorded = read_split(path)
        if recorded.data != split.data:
            raise DataError(
                f"{path}: the data folder has changed since this split was made (cases of the same "
                "names hold something else); restore it, or name another runs folder (common.runs)"
            )
        if recorded.fingerprint != split.fingerprint or recorded.seed != split.seed:
            raise DataError(f"{path}: holds another split; keep it, and name another runs folder")
        if recorded.scans or not split.scans:  # files of earlier releases hold no scans yet
            return
    written = SplitFile(**split.model_dump(), sha256=split.fingerprint)
    write_text(path, written.model_dump_json(indent=2) + "\n")


def read_split(path: Path) -> Split:
    """Read `evaluation_data.json`. Raises DataError, also when it was changed by hand."""
    try:
        written = SplitFile.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(str(part) for part in detail["loc"]) or "JSON"
        reason = f"{key}: {detail['msg']}"
        raise DataError(f"{path}: not a split that this program wrote ({reason})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a split that this program wrote ({error})") from error
    split = Split.model_validate(written.model_dump(exclude={"sha256"}))
    if written.sha256 != split.fingerprint:
        raise DataError(
            f"{path}: its names were changed after it was written (their SHA-256 is not the one "
            "it holds); restore it, or name another runs folder (common.runs)"
        )
    return split


def _rank(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _patients(names: Sequence[str], patients: Mapping[str, str]) -> list[Patient]:
    """Case names by patient."""
    cases: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        cases[patients.get(name, name)].append(name)
    return list(map(tuple, cases.values()))


def _line_up(
    patients: Sequence[Patient],
    first_share: float = 0.0,
    *,
    seed: int,
    strata: Mapping[str, Stratum] | None,
) -> list[Patient]:
    """Put patients into the order of the seed; with strata, those of one beside each other.

    With strata, evenly spaced ones come first, as many as make up `first_share`: of each stratum,
    and of each slice thickness, these are their share to within one.
    """
    line = sorted(patients, key=lambda patient: _rank(seed, patient[0]))
    if strata is None or len(set(strata.values())) == 1:
        return line
    line.sort(key=lambda patient: _place(patient, strata))
    n, n_first = len(line), int(len(line) * first_share + 0.5)
    start = int(_rank(seed, f"{n_first} of {n}")[:8], 16) / 16**8
    first = {int((k + start) * n / n_first) for k in range(n_first)}
    return [line[k] for k in sorted(range(n), key=lambda k: k not in first)]


def _place(patient: Patient, strata: Mapping[str, Stratum]) -> Stratum:
    """Where a patient's stratum stands in the line: there and back through the tumours' sizes."""
    thickness = min(strata[name][0] for name in patient)
    tumor = max(strata[name][1] for name in patient)
    return thickness, -tumor if thickness % 2 else tumor


def _fold(line: Sequence[Patient], n_folds: int, fold: int) -> tuple[list[Patient], list[Patient]]:
    """Deal patients out to folds in turn; return those of one fold, and the others."""
    if len(line) < n_folds:
        raise DataError(
            f"data.folds = {n_folds}: more than the {len(line)} patients for training and "
            "validation; expected at most one fold for each"
        )
    own = list(line[fold::n_folds])
    return own, [patient for patient in line if patient not in own]


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
