"""The note on a study, in the dashboard's own words, by one writer at a time."""

import time
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna_dashboard import get_note

from kidneyseg.ct.splits import Split
from kidneyseg.search import notes
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.notes import (
    ATTRIBUTES,
    MOST_FAILURES,
    note_failure,
    refresh_note,
    study_note,
)
from kidneyseg.search.objective import Workplace, run_trial
from kidneyseg.search.status import read_status
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import Study, load_study, open_study
from kidneyseg.settings import Environment

SPLIT = Split(
    data="d" * 64,
    seed=0,
    training=("case_00000", "case_00001"),
    validation=("case_00002",),
    test=("case_00003",),
)


def finish(study: Study, dice: float) -> optuna.Trial:
    trial = study.optuna.ask()
    study.definition.draw(trial)
    trial.report(dice, 1)
    study.optuna.tell(trial, dice)
    return trial


def test_it_says_what_is_searched_where_and_how_far_it_is(study: Study) -> None:
    study.ask_for(4)
    best = finish(study, 0.75)
    text = study_note(study.definition, read_status(study.storage, study.name), SPLIT)
    assert "Which `learning_rate` and `beta` give" in text
    assert "| `beta` | 0.05 to 5, on a log scale | Weight of the cross-entropy; under" in text
    assert (
        "drawn at random, each trial by itself. 1 start point was tried first. No trial is" in text
    )
    assert "n_startup" not in text
    assert "1 of 4 trials finished** (1 complete, 0 pruned)" in text
    assert f"Best: trial {best.number}, Dice 0.7500, with learning_rate 0.01, beta 0.5" in text
    assert "2 cases for training, 1 for validation; 1 for the test" in text
    assert "Fixed: batch_size 8." in text
    assert "of its 4 lowest and 2 highest Dice, with the true outline in blue" in text
    assert not [name for name in (*SPLIT.training, *SPLIT.validation, *SPLIT.test) if name in text]


def test_it_is_in_the_dashboard_whole(either_study: Study) -> None:
    assert refresh_note(either_study, SPLIT)
    status = read_status(either_study.storage, either_study.name)
    shown = get_note(either_study.optuna)
    assert shown == study_note(either_study.definition, status, SPLIT)
    assert len(shown) > optuna_piece()


def optuna_piece() -> int:
    """The characters that optuna-dashboard keeps in one attribute."""
    from optuna_dashboard._note import SYSTEM_ATTR_MAX_LENGTH

    return int(SYSTEM_ATTR_MAX_LENGTH)


def test_within_a_minute_it_is_written_once(
    either_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refresh_note(either_study, SPLIT)
    finish(either_study, 0.5)
    assert not refresh_note(either_study, SPLIT)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert refresh_note(either_study, SPLIT)
    assert "trial 0, Dice 0.5000" in get_note(either_study.optuna)


def test_of_two_workers_one_writes_it(either_study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have read that it is old before either has said that it is writing."""
    refresh_note(either_study, SPLIT)
    other = load_study(either_study.storage, either_study.name)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    storage = either_study.storage.optuna
    before = storage.get_study_system_attrs(either_study.id)
    monkeypatch.setattr(storage, "get_study_system_attrs", lambda _: dict(before))
    assert notes._may_write(either_study, at_once=False)
    assert not notes._may_write(other, at_once=False)


def test_at_once_waits_for_no_minute(study: Study) -> None:
    refresh_note(study, SPLIT)
    finish(study, 0.5)
    assert refresh_note(study, SPLIT, at_once=True)
    assert not refresh_note(study, SPLIT, at_once=True), "it would say the same"


def test_a_clock_that_was_ahead_does_not_stop_it(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: now + 3600)
        refresh_note(study, SPLIT)
    finish(study, 0.5)
    assert refresh_note(study, SPLIT)


def test_why_a_trial_failed_is_its_note_line_by_line(study: Study) -> None:
    trial = study.optuna.ask()
    assert note_failure(trial, "out of memory", 'File "a.py"\n  <b>x</b>\n```')
    assert get_note(trial) == '**out of memory**\n\n    File "a.py"\n      <b>x</b>\n    ```\n'
    assert get_note(study.optuna) == ""


def test_many_failures_do_not_fill_the_study(study: Study) -> None:
    refresh_note(study, SPLIT)
    written = [note_failure(study.optuna.ask(), "no", "x") for _ in range(MOST_FAILURES + 2)]
    assert written == [True] * MOST_FAILURES + [False] * 2


def test_a_confirmation_says_what_it_confirms(
    storage: Storage, build_plan: Callable[..., StudyPlan], environment: Environment
) -> None:
    definition = build_plan().definition(environment, "d" * 64, "e" * 64)
    candidates = [{"trial": 3, "dice": 0.9, "values": {}}, {"trial": 5, "dice": 0.8, "values": {}}]
    confirming = definition.model_validate(
        {**definition.model_dump(), "confirmation": {"study": "lr", "candidates": candidates}}
    )
    study = open_study(storage, "lr-confirmation", confirming)
    text = study_note(study.definition, read_status(storage, study.name), SPLIT)
    assert "The 2 best trials of study `lr` are trained again with other seeds" in text


@pytest.mark.slow
def test_every_attribute_of_a_trial_is_explained(
    build_workplace: Callable[..., Workplace], storage: Storage
) -> None:
    workplace = build_workplace(storage)
    trial = workplace.study.optuna.ask()
    for _ in run_trial(workplace, trial):
        pass
    attributes: dict[str, Any] = storage.optuna.get_trial(trial._trial_id).user_attrs
    assert attributes.keys() <= ATTRIBUTES.keys()
    assert {"best epoch", "provenance", "slices at a time"} <= attributes.keys()
