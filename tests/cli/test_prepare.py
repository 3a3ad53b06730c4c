"""`kidneyseg prepare` as a person uses it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kidneyseg.cli.main import kidneyseg
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
    assert [len(fold["val"]) for fold in json.loads(path.read_text())] == [1, 1, 1, 1]
    again = ["--set", f"data.splits_file={path}", "--set", "data.fold=3"]
    assert kidneyseg(["prepare", str(data), *again]) == 0


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
