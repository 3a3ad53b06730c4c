"""nnU-Net's `splits_final.json`: a list of folds, each with the names for training and validation.

What is named in none of the folds is for the test.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from kidneyseg.ct.selection import SelectedCases
from kidneyseg.ct.splits import Split
from kidneyseg.errors import DataError
from kidneyseg.files import write_text
from kidneyseg.settings import Part


class Fold(Part):
    """One of nnU-Net's folds."""

    train: tuple[str, ...]
    val: tuple[str, ...]


FOLDS = TypeAdapter(tuple[Fold, ...])


def import_split(path: Path, fold: int, selected: SelectedCases, seed: int) -> Split:
    """Make a split of a fold of `splits_final.json`; cases that are not used are left out.

    Raises DataError for a file or a fold that is not there, names that no case has, and cases or
    patients with two uses.
    """
    folds = _read(path)
    if fold >= len(folds):
        raise DataError(f"{path}: holds {len(folds)} folds; expected data.fold = {fold} among them")
    named = {name for each in folds for name in (*each.train, *each.val)}
    unknown = sorted(named - selected.cases.keys() - selected.left_out)
    if unknown:
        raise DataError(f"{path}: names {unknown[0]!r}; expected names of cases in the data folder")
    uses = {
        "training": folds[fold].train,
        "validation": folds[fold].val,
        "test": tuple(selected.cases.keys() - named),
    }
    used = {
        use: tuple(sorted(name for name in names if name in selected.cases))
        for use, names in uses.items()
    }
    for use in ("training", "validation"):
        if not used[use]:
            raise DataError(f"{path}: fold {fold} names no case for {use}; expected at least one")
    _check_apart(path, used, selected.patients)
    return Split(
        data=selected.fingerprint,
        seed=seed,
        training=used["training"],
        validation=used["validation"],
        test=used["test"],
    )


def export_splits(splits: Sequence[Split], path: Path) -> None:
    """Write the folds of splits as `splits_final.json`."""
    folds = [{"train": list(split.training), "val": list(split.validation)} for split in splits]
    write_text(path, json.dumps(folds, indent=4) + "\n")


def _read(path: Path) -> tuple[Fold, ...]:
    try:
        return FOLDS.validate_json(path.read_bytes())
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(str(part) for part in detail["loc"]) or "JSON"
        raise DataError(
            f"{path}: not nnU-Net's splits_final.json ({place}: {detail['msg']}); expected a list "
            "of folds with train and val"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _check_apart(path: Path, used: dict[str, tuple[str, ...]], patients: dict[str, str]) -> None:
    """Refuse a case or a patient with two uses."""
    names = Counter(name for each in used.values() for name in each)
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise DataError(f"{path}: names {twice[0]!r} twice in one fold; expected one use for each")
    use_of: dict[str, str] = {}
    for use, each in used.items():
        for name in each:
            other = use_of.setdefault(patients[name], use)
            if other != use:
                raise DataError(
                    f"{path}: puts patient {patients[name]!r} into {other} and {use}; expected all "
                    "cases of a patient in one of them"
                )
