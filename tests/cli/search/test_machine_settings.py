"""`--set` where a study brings its own settings: this machine's alone."""

from pathlib import Path

import pytest

from kidneyseg.cli.main import kidneyseg_search
from tests.cli.search.test_run import run

ELSEWHERE = ["--set", "common.runs=elsewhere"]


def test_a_study_in_another_runs_folder_is_found(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search([*run(tiny_data, 1), *ELSEWHERE]) == 0
    study, data = ["--study", "lr_loss"], ["--data", str(tiny_data)]
    for command in (
        ["status", *study],
        ["export", *study, *data, "--out", "best"],
        ["report", *study, "--out", "report.html"],
        ["worker", *study, *data],
        ["stop", *study],
        ["delete", *study, "--yes"],
    ):
        assert kidneyseg_search([*command, *ELSEWHERE]) == 0, command
    assert "as recorded" in capsys.readouterr().out
    kidneyseg_search(["doctor", *ELSEWHERE])  # its code is the machine's business
    assert "elsewhere" in capsys.readouterr().out
    assert (workplace / "best" / "model.json").is_file()
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["export", "--study", "lr_loss", "--out", "best"],
        ["report", "--study", "lr_loss", "--out", "report.html"],
        ["worker", "--study", "lr_loss"],
        ["confirm", "--study", "lr_loss"],
        ["stop", "--study", "lr_loss"],
        ["delete", "--study", "lr_loss"],
        ["dashboard"],
        ["doctor"],
    ],
    ids=lambda command: command[0],
)
@pytest.mark.usefixtures("workplace")
def test_what_the_study_says_itself_is_refused(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search([*command, "--set", "training.max_epochs=3"]) == 2
    assert "--set training.max_epochs=3: the study has its own" in capsys.readouterr().err
