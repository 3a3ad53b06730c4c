"""`kidneyseg prepare` as a person uses it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kidneyseg.cli.main import kidneyseg, kidneyseg_search
from kidneyseg.ct.volumes import write_kits19_case

SHAPE = (12, 40, 40)
SETTINGS = ["--set", "data.margin_slices=2"]


@pytest.fixture
def data(workplace: Path) -> Path:
    """Five cases: eight slices with kidney, more and more of it tumour."""
    for number in range(5):
        labels = np.zeros(SHAPE, np.uint8)
        labels[2:10, 10:20, 10:20] = 1
        labels[2:10, 10 : 10 + number] = np.minimum(labels[2:10, 10 : 10 + number] * 2, 2)
        scan = np.random.default_rng(number).normal(40, 100, SHAPE).astype(np.int16)
        folder = workplace / "data" / f"case_0000{number}"
        write_kits19_case(folder, scan, labels, spacing_mm=(5.0, 5.0, 5.0))
    return workplace / "data"


def test_it_says_how_many_slices_lie_where(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kidneyseg(["prepare", str(data), *SETTINGS]) == 0
    told = capsys.readouterr()
    assert told.out == "48 slices of 4 cases lie in runs/cache\n"
    assert told.err == "cases prepared: 4\n"


def test_a_damaged_case_is_made_anew(data: Path, workplace: Path) -> None:
    assert kidneyseg(["prepare", str(data), *SETTINGS]) == 0
    damaged = next(workplace.glob("runs/cache/case_*/labels.npy"))
    whole = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(whole[:-1] + b"\x01")
    assert kidneyseg(["prepare", str(data), *SETTINGS]) == 0
    assert damaged.read_bytes() == whole


@pytest.mark.parametrize("name", ["imaging", "segmentation"])
def test_bad_data_name_the_command_that_checks_all_of_it(
    data: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for case in data.iterdir():
        path = case / f"{name}.nii.gz"
        path.write_bytes(path.read_bytes()[:-9])
    assert kidneyseg(["prepare", str(data), *SETTINGS]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name}.nii.gz: cut or damaged (" in line
    assert line.endswith(f"; fetch it again; kidneyseg verify {data} checks every case")


def test_filters_are_settings(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kidneyseg(["prepare", str(data), "--set", "data.max_tumor_fraction=0.2"]) == 0
    assert capsys.readouterr().out.startswith("24 slices of 2 cases")
    assert kidneyseg(["prepare", str(data), "--set", "data.max_tumor_fraction=0.1"]) == 2
    assert "leave 2 of 5 cases; expected at least 3" in capsys.readouterr().err


def test_the_folds_are_exported(
    data: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workplace / "splits_final.json"
    folds = ["--set", "data.folds=4", "--export-splits", str(path)]
    assert kidneyseg(["prepare", str(data), *folds]) == 0
    assert capsys.readouterr().out.startswith(f"4 folds written to {path}\n")
    assert [len(fold["val"]) for fold in json.loads(path.read_text(encoding="utf-8"))] == [
        1,
        1,
        1,
        1,
    ]
    again = ["--set", f"data.splits_file={path}", "--set", "data.fold=3"]
    assert kidneyseg(["prepare", str(data), *again]) == 0


NAMES = [f"case_0000{number}" for number in range(5)]
NO_TEST = "warning: data.splits_file names all cases: none is left for the test\n"


@pytest.fixture
def everyone(data: Path, workplace: Path) -> list[str]:
    """Arguments that name a split without a test case."""
    path = workplace / "splits_final.json"
    path.write_text(json.dumps([{"train": NAMES[1:], "val": NAMES[:1]}]), encoding="utf-8")
    return ["--set", f"data.splits_file={path}", *SETTINGS]


def test_a_split_without_test_cases_is_warned_of_once(
    data: Path, everyone: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg(["prepare", str(data), *everyone]) == 0
    assert capsys.readouterr().err == f"{NO_TEST}cases prepared: 5\n"
    study = ["--study", "lr_loss", "--n-trials", "1", "--data", str(data)]
    assert kidneyseg_search(["submit", *study, *everyone]) == 0
    assert capsys.readouterr().err.count(NO_TEST) == 1
    small = ["network.filters=2", "training.max_epochs=1", "common.device=cpu"]
    options = [f"--set={setting}" for setting in small]
    assert kidneyseg(["train", "--data", str(data), *everyone, *options]) == 0
    assert capsys.readouterr().err.count(NO_TEST) == 1


def test_a_contact_sheet_shows_all_volumes(data: Path, workplace: Path) -> None:
    path = workplace / "sheet.png"
    assert kidneyseg(["prepare", str(data), "--contact-sheet", str(path)]) == 0
    with Image.open(path) as image:
        assert image.size == (2 * 320, 3 * 174)


@pytest.mark.parametrize(
    ("option", "suffix"), [("--contact-sheet", "png"), ("--export-splits", "json")]
)
def test_another_kind_of_file_is_refused_before_anything_starts(
    data: Path, workplace: Path, capsys: pytest.CaptureFixture[str], option: str, suffix: str
) -> None:
    assert kidneyseg(["prepare", str(data), option, "out.txt"]) == 2
    assert f"out.txt: expected a name that ends in .{suffix}" in capsys.readouterr().err
    assert not (workplace / "runs").exists()
