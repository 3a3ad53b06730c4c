"""A study in which nothing works any more stops; one bad machine stops only itself."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import func, insert, update

from kidneyseg.search.budget import HANDED_BACK, SURPLUS
from kidneyseg.search.failures import FAILURES_EACH, stop_where_all_fail
from kidneyseg.search.hand_back import end_trial
from kidneyseg.search.orders import ask_for, read_order
from kidneyseg.search.studies import Study
from kidneyseg.search.tables import workers

FAILED = "failed: ValueError: no"


@pytest.fixture
def study(either_study: Study) -> Study:
    return either_study


def end_trials(study: Study, outcomes: Sequence[str]) -> None:
    """End trials: complete, pruned, or with an outcome."""
    for outcome in outcomes:
        trial = study.optuna.ask()
        if outcome == "complete":
            study.optuna.tell(trial, 0.5)
        elif outcome == "pruned":
            study.optuna.tell(trial, state=TrialState.PRUNED)
        elif outcome != "running":
            end_trial(study, trial._trial_id, outcome)


def add_worker(study: Study, name: str) -> None:
    row = {"study_id": study.id, "worker": name, "device": "cpu"}
    study.storage.change(insert(workers).values(since=func.now(), seen=func.now(), **row))


def stop(study: Study) -> str | None:
    return read_order(study.storage, study.id).stop


def test_three_failures_of_the_only_worker_stop_the_study_and_it_says_why(study: Study) -> None:
    add_worker(study, "a")
    end_trials(study, ["complete", FAILED, FAILED])
    assert not stop_where_all_fail(study, "ValueError: no")
    assert stop(study) is None
    end_trials(study, [FAILED])
    assert stop_where_all_fail(study, "ValueError: no")
    assert stop(study) == "the last 3 trials all failed, the last one: ValueError: no"
    assert not read_order(study.storage, study.id).stop_now


@pytest.mark.parametrize("between", ["complete", "pruned"])
def test_a_finished_trial_between_them_shows_that_something_works(
    study: Study, between: str
) -> None:
    end_trials(study, [FAILED, FAILED, between, FAILED, FAILED])
    assert not stop_where_all_fail(study, "")


@pytest.mark.parametrize("between", ["running", f"{HANDED_BACK}: its worker died", SURPLUS])
def test_what_is_neither_finished_nor_failed_is_passed_over(study: Study, between: str) -> None:
    end_trials(study, [FAILED, FAILED, between])
    assert not stop_where_all_fail(study, "")
    end_trials(study, [FAILED])
    assert stop_where_all_fail(study, "")


def test_of_two_workers_it_takes_three_failures_each(study: Study) -> None:
    for name in ("a", "b"):
        add_worker(study, name)
    end_trials(study, [FAILED] * 5)
    assert FAILURES_EACH == 3
    assert not stop_where_all_fail(study, "")
    end_trials(study, [FAILED])
    assert stop_where_all_fail(study, "")


def test_workers_that_died_do_not_count(study: Study) -> None:
    for name in ("a", "b", "c"):
        add_worker(study, name)
    seen = study.storage.read(workers.select()).first()
    assert seen is not None
    long_ago: datetime = seen.seen - timedelta(minutes=2)
    study.storage.change(update(workers).where(workers.c.worker != "a").values(seen=long_ago))
    end_trials(study, [FAILED] * 3)
    assert stop_where_all_fail(study, "")


def test_who_asks_the_study_to_go_on_forgives_its_failures(study: Study) -> None:
    end_trials(study, [FAILED] * 3)
    assert stop_where_all_fail(study, "")
    ask_for(study.storage, study.id, 10)
    end_trials(study, [FAILED] * 2)
    assert not stop_where_all_fail(study, "")
    end_trials(study, [FAILED])
    assert stop_where_all_fail(study, "")


def test_failures_of_another_study_do_not_count(study: Study) -> None:
    other = optuna.create_study(storage=study.storage.optuna, study_name="other")
    end_trials(study, [FAILED] * 2)
    other.tell(other.ask(), state=TrialState.FAIL)
    assert not stop_where_all_fail(study, "")
