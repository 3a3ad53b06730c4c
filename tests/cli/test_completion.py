"""The shell completes commands, options and the names of studies and environments."""

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from kidneyseg.cli.completion import complete_environments, complete_studies
from kidneyseg.search.storage import open_storage

ROOT = Path(__file__).parent.parent.parent


def completed(line: str, program: str = "kidneyseg-search") -> list[str]:
    """What bash is offered at the end of a line, by a program of its own."""
    words = f"{program} {line}"
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    name = program.replace("-", "_")
    code = (
        f"import sys; from kidneyseg.cli.main import {name} as program; "
        "import atexit; atexit.register(lambda: print('HEAVY' * bool("
        "{'torch', 'optuna', 'sqlalchemy', 'nibabel', 'scipy'} & set(sys.modules)))); program([])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            variable: "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert "HEAVY" not in done.stdout
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_studies_without_importing_what_a_search_needs() -> None:
    assert completed("run --study lr") == ["lr_loss"]


@pytest.fixture
def begun(workplace: Path) -> Path:
    """A database of two studies at its usual place, and another of one."""
    for address, names in (
        ("sqlite:///runs/studies.db", ("lr_loss", "lr_loss-confirm")),
        ("sqlite:///other.db", ("lr_other",)),
    ):
        storage = open_storage(address).optuna
        for name in names:
            optuna.create_study(storage=storage, study_name=name)
    return workplace


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize(
    "command", ["worker", "status", "report", "export", "stop", "delete", "confirm"]
)
def test_bash_completes_the_studies_in_the_database(command: str) -> None:
    assert completed(f"{command} --study lr") == ["lr_loss", "lr_loss-confirm"]


@pytest.mark.usefixtures("begun")
def test_the_database_is_the_one_that_the_line_or_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert completed("stop --storage sqlite:///other.db --study lr") == ["lr_other"]
    monkeypatch.setenv("KIDNEYSEG_STORAGE", "sqlite:///other.db")
    assert completed("stop --study lr") == ["lr_other"]


@pytest.mark.parametrize("more", ["", "--environment nowhere", "--storage sqlite:///x.db"])
def test_without_a_database_nothing_is_completed_made_or_said(workplace: Path, more: str) -> None:
    assert completed(f"stop {more} --study lr") == []
    assert list(workplace.iterdir()) == []


def test_bash_completes_commands_of_both_programs() -> None:
    assert completed("sub") == ["submit"]
    assert completed("pred", "kidneyseg") == ["predict"]


def test_studies_are_those_shipped_and_those_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mine.toml").touch()
    monkeypatch.chdir(tmp_path)
    shipped = {path.stem for path in (ROOT / "studies").glob("*.toml")}
    assert set(complete_studies("")) == {"mine", *shipped}
    assert complete_studies("mi") == ["mine"]


def test_environments_are_those_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert complete_environments("") == ["cluster", "local"]
