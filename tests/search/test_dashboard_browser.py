"""The dashboard as people see it, in a headless Chromium."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from PIL import Image

from kidneyseg.ct.splits import Split
from kidneyseg.search.artifacts import upload_pictures
from kidneyseg.search.dashboard import build_server
from kidneyseg.search.dashboard_login import Login
from kidneyseg.search.dashboard_server import Address
from kidneyseg.search.folder_store import FolderStore
from kidneyseg.search.notes import note_failure, refresh_note
from kidneyseg.search.studies import Study
from tests.machine import BROWSERS, find_program
from tests.search.chromium import Page, browser

pytestmark = pytest.mark.slow

LOGIN = Login(user="viewer", password="correct horse battery")
SPLIT = Split(data="d", seed=0, training=("a", "b", "c"), validation=("d",), test=("e",))
TOO_WIDE = "document.documentElement.scrollWidth - innerWidth"  # pixels
TABLES = "[...document.querySelectorAll('main table')]"
CELL = "document.querySelector('main tbody td')"
KEY = f"(r => (r.selectNodeContents({CELL}), r.getBoundingClientRect()))(document.createRange())"
DICE = (0.62, 0.71, 0.68, 0.8)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browser(find_program(*BROWSERS), tmp_path) as page:
        yield page


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


@pytest.fixture
def searched(study: Study, store: FolderStore, tmp_path: Path) -> Study:
    """A study of four complete trials with pictures, and one that failed."""
    study.ask_for(20)
    folder = tmp_path / "pictures"
    folder.mkdir()
    shades = np.linspace(0, 255, 96 * 64).astype(np.uint8).reshape(64, 96)
    Image.fromarray(shades).save(folder / "worst_1_case_00002.png")
    for dice in DICE:
        trial = study.optuna.ask()
        study.definition.draw(trial)
        for epoch in (1, 2, 3):
            trial.report(dice * epoch / 3, epoch)
        trial.set_user_attr("best epoch", 3)
        upload_pictures(store, study, trial._trial_id, folder)
        study.optuna.tell(trial, dice)
    _fail(study, study.optuna.ask())
    refresh_note(study, SPLIT)
    return study


def _fail(study: Study, trial: optuna.Trial) -> None:
    study.definition.draw(trial)
    trial.set_user_attr("outcome", "failed: the loss is not finite in epoch 2")
    note_failure(trial, "not finite", "Traceback:\n  File trainer.py\nTrainingError: in epoch 2")
    study.optuna.tell(trial, state=TrialState.FAIL)


@pytest.fixture
def address(searched: Study, store: FolderStore) -> Iterator[str]:
    """The address of a dashboard with a login."""
    where = Address(host="127.0.0.1", port=0)
    with build_server(searched.storage, store, where, LOGIN) as server:
        yield where.url(server.port)


@pytest.fixture
def visitor(page: Page, address: str) -> Callable[[str], Page]:
    """Log in and open a page of the dashboard."""
    page.log_in(LOGIN.user, LOGIN.password)

    def visit(path: str) -> Page:
        page.go(f"{address}{path}")
        return page

    return visit


def test_who_logs_in_finds_the_study_and_its_history(
    visitor: Callable[[str], Page], searched: Study, tmp_path: Path
) -> None:
    page = visitor("")
    page.see(searched.name)
    page.evaluate(f"document.querySelector('a[href*=\"studies/{searched.id}\"]').click()")
    page.see("History")
    points = "document.querySelectorAll('.js-plotly-plot .scatterlayer .point').length"
    page.wait_for(f"{points} >= {len(DICE)}")
    page.see("Intermediate values")
    curves = "[...document.querySelectorAll('.js-plotly-plot .scatterlayer .trace .lines')].length"
    page.wait_for(f"{curves} >= {len(DICE)}")  # one of each trial, beside the history's
    page.see("Hyperparameter Importance")
    page.wait_for("document.querySelectorAll('.js-plotly-plot .barlayer .point').length > 0")
    page.picture(tmp_path / "history.png")
    page.see("definition")
    assert page.evaluate(TOO_WIDE) == 0
    # The table of attributes: no wider than its place, and no name broken over two lines.
    assert page.evaluate(f"{TABLES}.map(t => t.offsetWidth - t.parentElement.clientWidth)") == [0]
    assert page.evaluate(f"{KEY}.height < 2 * parseFloat(getComputedStyle({CELL}).fontSize)")


def test_a_trial_shows_its_words_and_its_picture(
    visitor: Callable[[str], Page], searched: Study, tmp_path: Path
) -> None:
    page = visitor(f"dashboard/studies/{searched.id}/trials?numbers=3")
    page.see("best epoch")
    page.see("worst_1_case_00002.png")
    page.wait_for(
        "[...document.images].some(i => i.src.includes('/artifacts/') && i.naturalWidth === 96)"
    )
    page.picture(tmp_path / "trial.png")


def test_the_dice_of_many_cases_make_no_page_wider_than_the_window(
    visitor: Callable[[str], Page], searched: Study, tmp_path: Path
) -> None:
    trial = searched.optuna.ask()
    searched.definition.draw(trial)
    trial.set_user_attr("Dice", {f"case_{number:05d}": 0.123456789 for number in range(40)})
    page = visitor(f"dashboard/studies/{searched.id}/trials?numbers={trial.number}")
    page.see("case_00020")  # optuna-dashboard cuts it behind 2045 characters
    page.picture(tmp_path / "wide.png")
    assert page.evaluate(TOO_WIDE) == 0


def test_why_a_trial_failed_is_on_its_page(
    visitor: Callable[[str], Page], searched: Study, tmp_path: Path
) -> None:
    page = visitor(f"dashboard/studies/{searched.id}/trials?numbers=4")
    page.see("failed: the loss is not finite in epoch 2")
    page.see("Traceback:\n  File trainer.py\nTrainingError: in epoch 2")
    page.picture(tmp_path / "failed.png")


def test_the_note_says_what_the_study_is(
    visitor: Callable[[str], Page], searched: Study, tmp_path: Path
) -> None:
    page = visitor(f"dashboard/studies/{searched.id}/note")
    page.see("So far: 4 of 20 trials finished")
    page.see("How to read the trials")
    page.picture(tmp_path / "note.png")


def test_a_stranger_sees_nothing(page: Page, address: str, searched: Study) -> None:
    page.go(f"{address}dashboard/studies/{searched.id}")
    page.see("log in to see the studies")
    assert searched.name not in page.evaluate("document.documentElement.outerHTML")
    for method, path in (("DELETE", f"/api/studies/{searched.id}"), ("POST", "/api/studies")):
        sent = f"fetch({path!r}, {{method: {method!r}, body: '{{}}'}})"
        assert page.evaluate(f"{sent}.then(a => a.status, () => 'no login')") in (401, "no login")
    assert optuna.get_all_study_names(searched.storage.optuna) == [searched.name]


def test_nobody_deletes_or_creates_a_study(visitor: Callable[[str], Page], searched: Study) -> None:
    page = visitor("")
    page.see(searched.name)
    answer = "fetch({address!r}, {{method: {method!r}, body: '{{}}'}}).then(a => a.status)"
    path = f"/api/studies/{searched.id}"
    assert page.evaluate(answer.format(address=path, method="DELETE")) == 405
    assert page.evaluate(answer.format(address="/api/studies", method="POST")) == 405
    assert optuna.get_all_study_names(searched.storage.optuna) == [searched.name]
