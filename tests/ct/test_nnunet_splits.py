"""nnU-Net's splits_final.json, in and out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kidneyseg.ct.cases import Case
from kidneyseg.ct.fingerprints import CaseFingerprint
from kidneyseg.ct.nnunet_splits import export_splits, import_split
from kidneyseg.ct.selection import SelectedCases
from kidneyseg.ct.splits import split_cases
from kidneyseg.errors import DataError
from kidneyseg.settings import DataSettings

NAMES = [f"case_{number}" for number in range(6)]


def selected(
    patients: dict[str, str] | None = None, left_out: tuple[str, ...] = ()
) -> SelectedCases:
    cases = {
        name: CaseFingerprint(
            case=Case(
                name=name,
                imaging=Path(name),
                segmentation=Path(name),
                patient=(patients or {}).get(name, name),
            ),
            imaging=name,
            segmentation=name,
        )
        for name in NAMES
    }
    return SelectedCases(cases=cases, strata={}, left_out=frozenset(left_out))


@pytest.fixture
def write_folds(tmp_path: Path) -> Callable[..., Path]:
    def write(*folds: tuple[list[int], list[int]]) -> Path:
        path = tmp_path / "splits_final.json"
        content = [
            {"train": [f"case_{n}" for n in train], "val": [f"case_{n}" for n in val]}
            for train, val in folds
        ]
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


def test_a_fold_becomes_a_split_and_what_no_fold_names_is_test(
    write_folds: Callable[..., Path],
) -> None:
    path = write_folds(([0, 1], [2, 3]), ([3, 2], [0, 1]))
    split = import_split(path, 1, selected(), seed=4)
    assert split.training == ("case_2", "case_3")
    assert split.validation == ("case_0", "case_1")
    assert split.test == ("case_4", "case_5")
    assert (split.data, split.seed) == (selected().fingerprint, 4)


def test_what_is_exported_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    settings = [
        DataSettings(downsampling=2, slice_size=(16, 16), folds=2, fold=fold) for fold in range(2)
    ]
    cases = selected()
    splits = [split_cases(NAMES, one, cases.fingerprint, cases.patients) for one in settings]
    export_splits(splits, path)
    assert [import_split(path, fold, cases, seed=0) for fold in range(2)] == splits
    assert [sorted(fold) for fold in json.loads(path.read_text(encoding="utf-8"))] == [
        ["train", "val"]
    ] * 2


def test_cases_that_are_not_used_drop_out(write_folds: Callable[..., Path]) -> None:
    path = write_folds(([0, 1, 7], [2, 8]))
    split = import_split(path, 0, selected(left_out=("case_7", "case_8")), seed=0)
    assert split.training == ("case_0", "case_1")
    assert split.validation == ("case_2",)


@pytest.mark.parametrize(
    ("folds", "fold", "reason"),
    [
        ([([0, 1], [1, 2])], 0, "names 'case_1' twice in one fold; expected one use for each"),
        ([([0, 1, 0], [2])], 0, "names 'case_0' twice in one fold"),
        ([([0, 9], [1])], 0, "names 'case_9'; expected names of cases in the data folder"),
        ([([0, 2], [1])], 0, "puts patient 'p' into training and test; expected all cases of"),
        ([([0], [1])], 1, "holds 1 folds; expected data.fold = 1 among them"),
        ([([0], [])], 0, "fold 0 names no case for validation; expected at least one"),
    ],
)
def test_a_fold_that_cannot_be_is_refused(
    write_folds: Callable[..., Path],
    folds: list[tuple[list[int], list[int]]],
    fold: int,
    reason: str,
) -> None:
    path = write_folds(*folds)
    with pytest.raises(DataError) as caught:
        import_split(path, fold, selected({"case_2": "p", "case_3": "p"}), seed=0)
    assert str(caught.value).startswith(f"{path}: {reason}")


@pytest.mark.parametrize("content", ["", "{}", '[{"train": []}]', "[3]", "\udcff"])
def test_what_is_no_such_file_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text(content, errors="surrogateescape", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        import_split(path, 0, selected(), seed=0)
    assert str(caught.value).startswith(f"{path}: not nnU-Net's splits_final.json (")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        import_split(tmp_path / "splits_final.json", 0, selected(), seed=0)
