"""Exit codes, one-line errors, and what `--help` may not import."""

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from kidneyseg.cli.data.app import app as data_app
from kidneyseg.cli.main import kidneyseg, kidneyseg_search
from kidneyseg.cli.search.app import app as search_app


@pytest.mark.parametrize("program", ["kidneyseg", "kidneyseg_search"])
def test_help_answers_without_importing_torch_or_optuna(program: str) -> None:
    code = (
        f"import sys; from kidneyseg.cli.main import {program} as program; "
        "code = program(['--help']); "
        "heavy = {'torch', 'optuna', 'nibabel', 'scipy', 'tensorboard'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: " in done.stdout


@pytest.mark.parametrize("program", [kidneyseg, kidneyseg_search])
def test_version_names_the_program_its_code_and_its_libraries(
    program: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(["--version"]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(rf"kidneyseg {version('kidneyseg')}, code [0-9a-f]{{12}} \(.+\)\n", said)
    for name in ("torch", "optuna", "nibabel"):
        assert f"{name} {version(name)}" in said


SEARCH_COMMANDS = tuple(typer.main.get_command(search_app).commands)  # type: ignore[attr-defined]
COMMANDS = tuple(typer.main.get_command(data_app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", SEARCH_COMMANDS)
def test_help_of_every_search_command_has_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search([command, "--help"]) == 0
    assert f"Example: kidneyseg-search {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg([command, "--help"]) == 0
    assert f"Example: kidneyseg {command}" in capsys.readouterr().out


RUN = ["run", "--study", "lr_loss", "--n-trials", "2"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--study", "lr_loss"], ["Missing option", "--n-trials"]),
        ([*RUN, "--sett", "x=1"], ["--sett"]),
        (["run", "--study", "nope", "--n-trials", "2"], ["'nope'", "studies/", "lr_loss"]),
        (["run", "--study", "lr_loss", "--n-trials", "0"], ["--n-trials 0", "1 or more"]),
        ([*RUN, "--environment", "nope"], ["'nope'", "cluster", "local"]),
        ([*RUN, "--data", "/nope"], ["/nope", "no such data folder"]),
        ([*RUN, "--set", "betta=1"], ["betta", "beta", "training.*"]),
        ([*RUN, "--set", "beta=-1"], ["--set", "beta = -1", "greater than or equal to 0"]),
        ([*RUN, "--set", "training.patiense=1"], ["training.patiense", "patience"]),
        ([*RUN, "--set", "beta"], ["'beta'", "KEY=VALUE"]),
        ([*RUN, "--name", "../up"], ["'../up'", "letters"]),
        ([*RUN, "--storage", "nonsense"], ["storage address", "sqlite:///"]),
        (["status"], ["runs/studies.db", "no such database"]),
        (["export", "--study", "lr_loss", "--out", "best"], ["no such database"]),
        (["dashboard", "--host", "0.0.0.0"], ["0.0.0.0", "no login"]),
    ],
)
def test_what_a_person_can_put_right_is_one_line_and_exit_code_2(
    arguments: list[str], words: list[str], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    for word in ("kidneyseg-search: ", *words):
        assert word in said[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "--model", "m", "-i", "ct.nii.gz", "-o", "mask.png"], ["mask.png", ".nii.gz"]),
        (
            ["predict", "--model", "m", "-i", "ct.nii.gz", "-o", "mask.nii"],
            ["ct.nii.gz", "no such"],
        ),
        (["phantom", "out", "--cases", "0"], ["--cases 0"]),
        (["phantom", "out", "--cases", "1", "--size", "huge"], ["huge", "small or full"]),
        (
            ["phantom", "out", "--from-segmentations", "labels", "--size", "small"],
            ["--size small", "--from-segmentations", "leave it out"],
        ),
        (["prepare", "nowhere"], ["nowhere", "no such data folder"]),
        (["train", "--set", "learning_rate=0"], ["learning_rate = 0", "greater than 0"]),
    ],
)
def test_the_same_for_the_other_program(
    arguments: list[str], words: list[str], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg(arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    for word in ("kidneyseg: ", *words):
        assert word in said[0]


def test_help_says_what_small_phantoms_lack(capsys: pytest.CaptureFixture[str]) -> None:
    assert kidneyseg(["phantom", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "slices of 3 to 5 mm alone, no kidney that the field of view cuts" in said


def test_debug_shows_the_traceback(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kidneyseg_search(["--debug", "status"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_password_is_never_shown(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = "postgresql://someone:s3cret-word@127.0.0.1:1/trials"
    assert kidneyseg_search([*RUN, "--storage", address, "--debug"]) == 2
    said = capsys.readouterr()
    assert "someone:***@127.0.0.1" in said.err
    assert "s3cret-word" not in said.err + said.out


def test_a_usage_error_points_to_the_command_s_own_help(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search([*RUN, "--sett", "x=1"]) == 2
    assert "(see kidneyseg-search run --help)" in capsys.readouterr().err


def test_a_scan_is_never_overwritten_by_its_mask(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = workplace / "scan.nii.gz"
    scan.write_bytes((tiny_data / "case_00000" / "imaging.nii.gz").read_bytes())
    before = scan.read_bytes()
    given = ["predict", "--model", "m", "-i", str(scan), "-o", "./scan.nii.gz"]
    assert kidneyseg(given) == 2
    assert "is the scan itself" in capsys.readouterr().err
    assert scan.read_bytes() == before


def test_train_never_replaces_a_folder_of_something_else(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("years of work", encoding="utf-8")
    assert kidneyseg(["train", "--data", str(tiny_data), "--out", "thesis"]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert Path("thesis/chapter.tex").read_text(encoding="utf-8") == "years of work"


@pytest.mark.parametrize("setting", ["data.cache", "common.runs"])
def test_a_folder_that_cannot_be_made_is_told(
    setting: str, workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("", encoding="utf-8")
    given = ["train", "--data", str(tiny_data), "--set", f"{setting}=file/below"]
    assert kidneyseg(given) == 2
    assert f"{setting} = file/below: cannot be made" in capsys.readouterr().err
