"""Optuna's storage outlasts an outage, and tells a lost answer from another's word."""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import TrialState
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from kidneyseg.search import patience
from kidneyseg.search.patient_storage import REPEATED
from kidneyseg.search.storage import Storage

UNUSED = {  # Optuna's heartbeat: leases take its place
    "record_heartbeat",
    "_get_stale_trial_ids",
    "get_heartbeat_interval",
    "get_heartbeat_stale_trial_callback",
    "remove_session",
}


class Outage:
    """A database that is away for the next few statements or answers."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements = self.commits = 0  # that are left to fail
        self.failed = 0
        dialect, self._error = engine.dialect, engine.dialect.loaded_dbapi.OperationalError
        self._execute, self._commit = dialect.do_execute, dialect.do_commit
        monkeypatch.setattr(dialect, "do_execute", self._do_execute)
        monkeypatch.setattr(dialect, "do_commit", self._do_commit)

    def _do_execute(self, *arguments: Any) -> None:
        if self.statements:
            self.statements -= 1
            self.failed += 1
            raise self._error("away")
        self._execute(*arguments)

    def _do_commit(self, connection: Any) -> None:
        self._commit(connection)
        if self.commits:
            self.commits -= 1
            self.failed += 1
            raise self._error("the answer was lost")


@pytest.fixture
def study(either_storage: Storage) -> optuna.Study:
    return optuna.create_study(storage=either_storage.optuna, study_name="a", direction="maximize")


@pytest.fixture
def outage(study: optuna.Study, either_storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Outage:
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("optuna.storages._rdb.storage.time.sleep", lambda _: None)
    return Outage(either_storage.engine, monkeypatch)


def test_every_call_that_optunas_cache_hands_on_is_repeated() -> None:
    handed_on = set(re.findall(r"self\._backend\.(\w+)\(", inspect.getsource(_CachedStorage)))
    assert len(handed_on) > 15
    assert handed_on - UNUSED == {*REPEATED, "set_trial_state_values"}


def test_a_trial_from_ask_to_tell_outlasts_outages(study: optuna.Study, outage: Outage) -> None:
    outage.statements = 1
    trial = study.ask()
    steps: list[Callable[[], object]] = [
        lambda: trial.suggest_float("x", 0, 1),
        lambda: trial.report(0.25, 1),
        lambda: trial.set_user_attr("a", 1),
        lambda: study.enqueue_trial({"x": 0.5}),
        lambda: study.get_trials(deepcopy=False),
        lambda: study.tell(trial, 0.75),
        lambda: study.best_trial,
    ]
    for step in steps:
        outage.statements = 2
        step()
        assert outage.statements == 0
    assert outage.failed == 1 + 2 * len(steps)
    assert [each.state for each in study.trials] == [TrialState.COMPLETE, TrialState.WAITING]
    assert study.best_trial.value == 0.75
    assert study.best_trial.intermediate_values == {1: 0.25}
    assert study.best_trial.user_attrs == {"a": 1}


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
def test_a_tell_whose_answer_was_lost_counts_once_and_is_no_error(
    study: optuna.Study, outage: Outage, state: TrialState
) -> None:
    trial = study.ask()
    trial.report(0.125, 1)
    outage.commits = 1
    study.tell(trial, 0.5 if state == TrialState.COMPLETE else None, state)
    assert outage.failed == 1
    (told,) = study.trials
    assert told.state == state
    values = {TrialState.COMPLETE: [0.5], TrialState.PRUNED: [0.125], TrialState.FAIL: None}
    assert told.values == values[state]


@pytest.mark.parametrize(
    ("state", "values"),
    [(TrialState.COMPLETE, [0.25]), (TrialState.PRUNED, [0.5]), (TrialState.FAIL, None)],
)
def test_a_trial_that_another_told_meanwhile_is_not_taken_for_ones_own(
    study: optuna.Study,
    outage: Outage,
    monkeypatch: pytest.MonkeyPatch,
    state: TrialState,
    values: list[float] | None,
) -> None:
    trial = study.ask()
    change = RDBStorage.set_trial_state_values
    calls = 0

    def another_is_faster(
        storage: RDBStorage,
        trial_id: int,
        to: TrialState,
        told: Sequence[float] | None = None,
    ) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            change(storage, trial_id, state, values)
            raise OperationalError("COMMIT", None, Exception("away"))
        return change(storage, trial_id, to, told)

    monkeypatch.setattr(RDBStorage, "set_trial_state_values", another_is_faster)
    with pytest.raises(UpdateFinishedTrialError):
        study.tell(trial, 0.5)
    assert calls == 2
    assert study.trials[0].state == state
    assert study.trials[0].values == values


def test_without_an_outage_the_same_value_told_before_is_anothers(study: optuna.Study) -> None:
    trial = study.ask()
    storage = study._storage
    assert storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])


def test_a_trial_in_line_is_popped_once(study: optuna.Study, outage: Outage) -> None:
    study.enqueue_trial({"x": 0.5})
    outage.statements = 2
    assert study.ask().number == 0
    assert study.ask().number == 1
