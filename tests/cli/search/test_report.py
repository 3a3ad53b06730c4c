"""`kidneyseg-search report`, as a person calls it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kidneyseg.cli.main import kidneyseg_search
from kidneyseg.environment_files import load_environment
from kidneyseg.search.definition import load_plan
from kidneyseg.search.objective import DICE_OF_CASE
from kidneyseg.search.orders import ask_for
from kidneyseg.search.storage import open_storage
from kidneyseg.search.studies import Study, open_study


@pytest.fixture
def study(workplace: Path) -> Iterator[Study]:
    """The study lr_loss in the default database, without a trial."""
    storage = open_storage("sqlite:///runs/studies.db")
    plan = load_plan("lr_loss", {})
    definition = plan.definition(load_environment("local", {}), data="d" * 64, split="e" * 64)
    opened = open_study(storage, "lr_loss", definition)
    ask_for(storage, opened.id, 3)
    yield opened
    storage.engine.dispose()


def complete(study: Study, dice: float) -> None:
    trial = study.optuna.ask()
    study.definition.draw(trial)
    trial.report(dice, 1)
    trial.set_user_attr(DICE_OF_CASE, {"case_00001": dice - 0.01, "case_00002": dice + 0.01})
    study.optuna.tell(trial, dice)


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert kidneyseg_search(["report", "--help"]) == 0
    assert "Example: kidneyseg-search report --study lr_loss" in capsys.readouterr().out


def test_a_page_is_written_and_told(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    for dice in (0.8, 0.85):
        complete(study, dice)
    assert kidneyseg_search(["report", "--study", "lr_loss", "--out", "report.html"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(
        "study lr_loss: trial 1 is the best, validation Dice 0.8500; written to report.html (4."
    )
    page = Path("report.html").read_text(encoding="utf-8")
    assert "case_00001" in page
    assert "That is 0.0500 more than the report&#x27;s own values gave (trial 0: 0.8000)" in page


def test_pseudonyms_stand_for_names(study: Study) -> None:
    complete(study, 0.8)
    given = ["report", "--study", "lr_loss", "--out", "report.html"]
    assert kidneyseg_search([*given, "--pseudonyms", "--no-pictures"]) == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert "case_00001" not in page
    assert "Left out: pictures were not wanted." in page
    assert Path("runs/pseudonyms.key").exists()


def test_a_study_without_a_complete_trial_cannot_be_reported(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(["report", "--study", "lr_loss", "--out", "report.html"]) == 2
    assert "no complete trial to report (no trial at all); run more" in capsys.readouterr().err
    assert not Path("report.html").exists()


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--study", "none", "--out", "new.html"], "study 'none': not in"),
        (["--study", "lr_loss", "--out", "letter.txt"], "letter.txt: holds something else"),
        (["--study", "lr_loss", "--out", "runs"], "runs: is a folder"),
    ],
)
def test_what_a_person_can_put_right(
    given: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("letter.txt").write_text("Dear reader", encoding="utf-8")
    assert kidneyseg_search(["report", *given]) == 2
    assert words in capsys.readouterr().err
    assert Path("letter.txt").read_text(encoding="utf-8") == "Dear reader"
