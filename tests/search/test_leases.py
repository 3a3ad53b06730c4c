"""Dead workers are told from slow ones; their trials are taken up again, three times at most."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import optuna
import psutil
import pytest
from optuna.trial import TrialState
from sqlalchemy import insert, select, update
from sqlalchemy.exc import OperationalError

from kidneyseg.search import leases as module
from kidneyseg.search.definition import StudyDefinition, StudyPlan
from kidneyseg.search.leases import (
    ATTEMPT,
    GRACE_SECONDS,
    HANDED_BACK,
    MAX_ATTEMPTS,
    OUTCOME,
    Lease,
    Watcher,
    WorkerIdentity,
    end_trial,
    hand_back,
    reap_trial,
)
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import Study, open_study
from kidneyseg.search.tables import leases
from kidneyseg.settings import Environment

POINT = {"learning_rate": 0.01, "beta": 0.5}
ELSEWHERE = WorkerIdentity(host="elsewhere", machine="m", pid=7, started=1.0)


class Clock:
    """A monotonic clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("kidneyseg.search.leases.time.monotonic", clock)
    return clock


@pytest.fixture
def definition(build_plan: Callable[..., StudyPlan], environment: Environment) -> StudyDefinition:
    return build_plan().definition(environment, data="d", split="s")


@pytest.fixture
def study(either_storage: Storage, definition: StudyDefinition) -> Study:
    return open_study(either_storage, "tiny", definition)


def running_trial(study: Study, worker: str | None = None) -> optuna.Trial:
    """A trial that draws, with a lease of `worker`."""
    trial = study.optuna.ask()
    study.definition.space.draw(trial, study.definition.fixed)
    if worker is not None:
        row = {"trial_id": trial._trial_id, "worker": worker, "beat": 0}
        with study.storage.engine.begin() as connection:
            connection.execute(insert(leases).values(row))
    return trial


def beat(study: Study, trial: optuna.Trial) -> None:
    change = update(leases).where(leases.c.trial_id == trial._trial_id)
    with study.storage.engine.begin() as connection:
        connection.execute(change.values(beat=leases.c.beat + 1))


def beats(study: Study, trial: optuna.Trial) -> int:
    query = select(leases.c.beat).where(leases.c.trial_id == trial._trial_id)
    with study.storage.engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def dead_process() -> WorkerIdentity:
    """A process of this machine that ran and ended."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        mine = WorkerIdentity.mine()
        identity = replace(mine, pid=process.pid, started=time.time())
        process.kill()
    return identity


def test_an_identity_comes_back_from_its_text() -> None:
    mine = WorkerIdentity.mine()
    again = WorkerIdentity.parse(str(mine))
    assert again is not None
    assert (again.host, again.machine, again.pid) == (mine.host, mine.machine, os.getpid())
    assert again.started == pytest.approx(mine.started, abs=0.01)


@pytest.mark.parametrize("text", ["", "somebody", "a b c d", "host machine 12"])
def test_any_other_text_is_nobody(text: str) -> None:
    assert WorkerIdentity.parse(text) is None


def test_a_process_that_runs_is_not_gone_and_one_that_ended_is() -> None:
    assert not WorkerIdentity.mine().is_gone()
    assert dead_process().is_gone()


def test_a_number_that_another_process_has_now_is_gone() -> None:
    mine = WorkerIdentity.mine()
    assert replace(mine, started=mine.started - 1000).is_gone()


def test_a_process_that_ended_but_was_not_waited_for_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        started = psutil.Process(process.pid).create_time()
        identity = replace(WorkerIdentity.mine(), pid=process.pid, started=started)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        assert identity.is_gone()


def test_of_another_machine_or_container_nobody_knows() -> None:
    gone = dead_process()
    assert not replace(gone, host="elsewhere").is_gone()
    assert not replace(gone, machine="another boot").is_gone()


def test_a_lease_says_who_trains_and_beats_while_it_lasts(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    trial = running_trial(study)
    with Lease(study.storage, trial._trial_id):
        with study.storage.engine.connect() as connection:
            worker = connection.execute(select(leases.c.worker)).scalar_one()
        identity = WorkerIdentity.parse(worker)
        assert identity is not None
        assert identity.pid == os.getpid()
        deadline = time.monotonic() + 10
        while beats(study, trial) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert beats(study, trial) >= 3
    last = beats(study, trial)
    time.sleep(0.05)
    assert beats(study, trial) == last


def test_a_lease_outlives_a_database_that_is_away_for_a_while(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    trial = running_trial(study)
    engine = study.storage.engine
    refused = 0

    def away() -> None:
        nonlocal refused
        refused += 1
        raise OperationalError("away", None, Exception("away"))

    with Lease(study.storage, trial._trial_id):
        with monkeypatch.context() as patch:
            patch.setattr(engine, "begin", away)
            deadline = time.monotonic() + 10
            while refused < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
        assert refused >= 3
        before = beats(study, trial)
        while beats(study, trial) <= before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert beats(study, trial) > before


def test_a_trial_of_a_dead_process_of_this_machine_is_reaped_at_once(study: Study) -> None:
    trial = running_trial(study, worker=str(dead_process()))
    assert Watcher(study).reap() == [trial.number]
    ended, copy = study.optuna.trials
    assert ended.state == TrialState.FAIL
    assert ended.user_attrs[OUTCOME] == "handed back: its worker died"
    assert copy.state == TrialState.WAITING
    assert copy.user_attrs[ATTEMPT] == 2
    assert Watcher(study).reap() == []


def test_a_trial_of_a_living_process_is_never_reaped_while_it_beats(
    study: Study, clock: Clock
) -> None:
    trial = running_trial(study, worker=str(ELSEWHERE))
    watcher = Watcher(study)
    for _ in range(5):
        assert watcher.reap() == []
        clock.now += 0.9 * GRACE_SECONDS
        beat(study, trial)


@pytest.mark.parametrize("worker", [str(ELSEWHERE), "somebody", None])
def test_a_trial_that_stands_still_is_reaped_after_the_grace_period(
    study: Study, clock: Clock, worker: str | None
) -> None:
    trial = running_trial(study, worker=worker)
    watcher = Watcher(study)
    assert watcher.reap() == []
    clock.now += GRACE_SECONDS
    assert watcher.reap() == []
    clock.now += 1
    assert watcher.reap() == [trial.number]


def test_the_grace_period_begins_when_the_watcher_first_looks(study: Study, clock: Clock) -> None:
    """No matter how long the trial has stood still, or what other clocks say."""
    running_trial(study, worker=str(ELSEWHERE))
    clock.now += 100 * GRACE_SECONDS
    watcher = Watcher(study)
    assert watcher.reap() == []
    clock.now += 0.5 * GRACE_SECONDS
    assert watcher.reap() == []


def test_a_handed_back_trial_is_taken_up_with_its_hyperparameters_at_the_same_attempt(
    study: Study,
) -> None:
    running_trial(study)  # the start point
    trial = running_trial(study)
    drawn = dict(trial.params)
    assert drawn != POINT
    assert hand_back(study, study.storage.optuna.get_trial(trial._trial_id))
    assert study.optuna.trials[1].user_attrs[OUTCOME] == HANDED_BACK
    again = running_trial(study)
    assert (again.number, again.params) == (2, drawn)
    assert again.user_attrs[ATTEMPT] == 1


def test_a_trial_handed_back_before_it_drew_keeps_its_start_point(study: Study) -> None:
    trial = study.optuna.ask()
    assert hand_back(study, study.storage.optuna.get_trial(trial._trial_id))
    assert running_trial(study).params == POINT


def test_a_trial_handed_back_twice_before_it_drew_keeps_its_hyperparameters(study: Study) -> None:
    running_trial(study)
    drawn = running_trial(study)
    for trial in (drawn, None):
        waiting = trial or study.optuna.ask()
        assert hand_back(study, study.storage.optuna.get_trial(waiting._trial_id))
    assert running_trial(study).params == drawn.params


def test_a_trial_without_hyperparameters_is_ended_and_not_put_in_line(study: Study) -> None:
    running_trial(study)
    trial = study.optuna.ask()
    assert hand_back(study, study.storage.optuna.get_trial(trial._trial_id))
    states = [each.state for each in study.optuna.trials]
    assert states == [TrialState.RUNNING, TrialState.FAIL]


def test_hyperparameters_whose_workers_die_are_tried_three_times_in_all(study: Study) -> None:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        trial = running_trial(study, worker=str(ELSEWHERE))
        assert trial.params == POINT
        assert trial.user_attrs.get(ATTEMPT, 1) == attempt
        assert reap_trial(study, study.storage.optuna.get_trial(trial._trial_id))
    trials = study.optuna.trials
    assert len(trials) == MAX_ATTEMPTS == 3
    assert {trial.state for trial in trials} == {TrialState.FAIL}
    assert trials[-1].user_attrs[OUTCOME] == "failed: its worker died, 3 times"


def test_a_hand_back_is_no_attempt(study: Study) -> None:
    for _ in range(MAX_ATTEMPTS + 2):
        trial = running_trial(study)
        hand_back(study, study.storage.optuna.get_trial(trial._trial_id))
    assert running_trial(study).params == POINT


def test_two_who_reap_the_same_trial_put_it_in_line_once(study: Study) -> None:
    trial = running_trial(study, worker=str(dead_process()))
    seen = study.storage.optuna.get_trial(trial._trial_id)
    assert [reap_trial(study, seen), reap_trial(study, seen)] == [True, False]
    assert [each.state for each in study.optuna.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_a_finished_trial_is_not_ended_again(study: Study) -> None:
    trial = running_trial(study)
    study.optuna.tell(trial, 0.5)
    assert not end_trial(study, study.storage.optuna.get_trial(trial._trial_id), "too late")
    assert study.optuna.trials[0].state == TrialState.COMPLETE
    assert OUTCOME not in study.optuna.trials[0].user_attrs
