"""`kidneyseg-search export` as a person gives it: written, read back, evaluated."""

import shutil
from pathlib import Path

import pytest

from kidneyseg.cli.main import kidneyseg_search

SETTINGS = """
[data]
downsampling = 2
slice_size = [32, 32]
margin_slices = 1

[network]
filters = 4
kernel_size = 3

[training]
max_epochs = 1

[common]
device = "cpu"
"""
EXPORT = ["export", "--study", "lr_loss", "--environment", "my.toml", "--out", "best"]


@pytest.fixture(scope="module")
def searched(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a study of one trial was run."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "my.toml").write_text(SETTINGS)
    run = ["run", "--study", "lr_loss", "--n-trials", "1", "--environment", "my.toml"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("KIDNEYSEG_STORAGE", raising=False)
        assert kidneyseg_search([*run, "--data", str(tiny_data)]) == 0
    return folder


@pytest.fixture
def there(searched: Path, workplace: Path) -> Path:
    """A copy of it, as the current folder."""
    shutil.copytree(searched, workplace, dirs_exist_ok=True)
    return workplace


def test_it_is_evaluated_where_the_data_are_at_hand(
    there: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search([*EXPORT, "--data", str(tiny_data)]) == 0
    written, evaluated = capsys.readouterr().out.splitlines()
    assert written.startswith("trial 0 of study lr_loss, validation Dice ")
    assert written.endswith("written to best")
    assert evaluated.startswith("evaluated on 1 validation case: Dice ")
    assert evaluated.endswith(" on cpu, as recorded")


def test_without_data_it_is_written_and_says_how_to_evaluate_it(
    there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(EXPORT) == 0
    _, told = capsys.readouterr().out.splitlines()
    assert told == ("not evaluated: no data folder is named; --data DIR names the study's data")
    assert Path("best/model.json").is_file()


def test_other_data_are_refused_before_anything_is_written(
    there: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = there / "other"
    shutil.copytree(tiny_data, other)
    shutil.rmtree(other / "case_00004")
    assert kidneyseg_search([*EXPORT, "--data", str(other)]) == 2
    assert "was begun with something else: data was" in capsys.readouterr().err
    assert not Path("best").exists()


def test_a_machines_own_other_data_are_told(
    there: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_data, there / "runs" / "phantom")
    shutil.rmtree(there / "runs" / "phantom" / "case_00004")
    assert kidneyseg_search(EXPORT) == 0
    _, told = capsys.readouterr().out.splitlines()
    assert told.startswith("not evaluated: study 'lr_loss' was begun with something else: data was")
    assert Path("best/model.json").is_file()
