"""Looks at the test cases outlive the model folder that they lie in."""

import shutil
from pathlib import Path

import pytest

from kidneyseg.errors import DataError
from kidneyseg.model.description import load_description
from kidneyseg.model.folder import Model, copy_model, save_model
from kidneyseg.model.looks import LEDGER, Look, LookedModel, read_looks, write_looks


def look(day: int) -> Look:
    model = LookedModel(weights_sha256="w", study="lr_loss", trial=7)
    when = f"2026-11-{day:02d}T00:00:00+00:00"
    return Look(when=when, split="a" * 64, part="test", models=(model,))


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", model.network, model.description)
    return tmp_path / "model"


def test_a_copy_keeps_the_looks_of_both_folders(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    write_looks(out / LEDGER, [look(3), look(1)])
    copy_model(folder, out)
    assert read_looks(out / LEDGER) == (look(1), look(3))
    write_looks(folder / LEDGER, [look(2), look(3)])
    copy_model(folder, out)
    assert read_looks(out / LEDGER) == (look(1), look(2), look(3))


def test_a_model_saved_over_another_keeps_its_looks(model: Model, folder: Path) -> None:
    write_looks(folder / LEDGER, [look(1)])
    save_model(folder, model.network, model.description)
    assert read_looks(folder / LEDGER) == (look(1),)


def test_without_a_look_there_is_no_ledger(folder: Path, tmp_path: Path) -> None:
    copy_model(folder, tmp_path / "out")
    assert not (tmp_path / "out" / LEDGER).exists()


def test_a_damaged_ledger_stops_a_copy_and_stays(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    (out / LEDGER).write_text('{"looks": [', encoding="utf-8")
    with pytest.raises(DataError, match="not a ledger that this program wrote"):
        copy_model(folder, out)
    assert (out / LEDGER).read_text(encoding="utf-8") == '{"looks": ['


def test_a_card_that_is_missing_is_written_anew(folder: Path, tmp_path: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").unlink()
    copy_model(folder, tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text(encoding="utf-8") == card
    assert load_description(tmp_path / "out") == load_description(folder)
