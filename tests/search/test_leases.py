"""Dead workers are told from slow ones, and from those that lost the database; all go on."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import insert, select, update
from sqlalchemy.exc import OperationalError

from kidneyseg.search import patience
from kidneyseg.search.budget import HANDED_BACK, OUTCOME, read_ledger
from kidneyseg.search.crew import WATCHERS
from kidneyseg.search.hand_back import ATTEMPT, end_trial, put_in_line
from kidneyseg.search.identity import WorkerIdentity
from kidneyseg.search.leases import COPY_SECONDS, GRACE_SECONDS, Heart, Watcher
from kidneyseg.search.lineage import lineage
from kidneyseg.search.orders import ask_for, ask_to_stop
from kidneyseg.search.storage import open_storage
from kidneyseg.search.studies import Study, load_study
from kidneyseg.search.tables import leases, utc_now, workers

BeginTrial = Callable[..., optuna.Trial]
ELSEWHERE = str(WorkerIdentity(host="elsewhere", machine="m", pid=7, started=1.0))
LOOK = GRACE_SECONDS / 8  # between two looks, as hearts have it
QUICK = 0.08  # seconds of grace: a hundred beats a second


class Clock:
    """A monotonic clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def study(either_study: Study) -> Study:
    return either_study


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("kidneyseg.search.leases.time.monotonic", clock)
    return clock


def beat(study: Study, trial: optuna.Trial) -> None:
    change = update(leases).where(leases.c.trial_id == trial._trial_id)
    study.storage.change(change.values(beat=leases.c.beat + 1))


def beats(study: Study, trial: optuna.Trial) -> int:
    query = select(leases.c.beat).where(leases.c.trial_id == trial._trial_id)
    return int(study.storage.read(query).scalar_one())


def reaped_after(watcher: Watcher, clock: Clock, seconds: float) -> list[int]:
    """What is reaped by somebody who looks regularly for so long."""
    until = clock.now + seconds
    reaped = []
    while clock.now + LOOK <= until:
        clock.now += LOOK
        reaped += watcher.reap()
    clock.now = until
    return reaped + watcher.reap()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def registered(study: Study) -> list[str]:
    return list(study.storage.read(select(workers.c.worker)).scalars())


def test_a_lease_says_who_trains_and_beats_while_it_lasts(
    study: Study, begin_trial: BeginTrial
) -> None:
    trial = begin_trial(study)
    with Heart(study, "cpu", place=2, grace_seconds=QUICK) as heart:
        with heart.lease(trial._trial_id):
            worker = study.storage.read(select(leases.c.worker)).scalar_one()
            assert worker == str(WorkerIdentity.mine(place=2))
            assert f" {os.getpid()} " in worker
            wait_until(lambda: beats(study, trial) >= 3)
        last = beats(study, trial)
        time.sleep(5 * QUICK)
        assert beats(study, trial) <= last + 1  # one may have been under way


def test_a_worker_is_in_the_table_while_it_works(study: Study) -> None:
    with Heart(study, "cuda:1", place=0), Heart(study, "cpu", place=1):
        assert sorted(registered(study)) == [str(WorkerIdentity.mine(place)) for place in (0, 1)]
        devices = study.storage.read(select(workers.c.device)).scalars()
        assert sorted(devices) == ["cpu", "cuda:1"]
    assert registered(study) == []


def test_a_worker_between_two_trials_is_seen_too(study: Study) -> None:
    long_ago = datetime(2000, 1, 1)  # noqa: DTZ001 - the table's times have no zone
    with Heart(study, "cpu", grace_seconds=QUICK):
        study.storage.change(update(workers).values(seen=long_ago))
        seen = select(workers.c.seen)
        wait_until(lambda: bool(study.storage.read(seen).scalar_one() > long_ago))


def test_a_lease_outlives_a_database_that_is_away_for_a_while(
    study: Study, begin_trial: BeginTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = begin_trial(study)
    engine = study.storage.engine
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.01)
    refused = 0

    def away() -> None:
        nonlocal refused
        refused += 1
        raise OperationalError("away", None, Exception("away"))

    with Heart(study, "cpu", grace_seconds=QUICK) as heart, heart.lease(trial._trial_id):
        with monkeypatch.context() as patch:
            patch.setattr(engine, "begin", away)
            wait_until(lambda: refused >= 3)
        before = beats(study, trial)
        wait_until(lambda: beats(study, trial) > before)


def test_a_heart_outlives_any_error_of_its_own_watch(
    study: Study, begin_trial: BeginTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = begin_trial(study)
    tried = 0

    def broken(_: Watcher) -> list[int]:
        nonlocal tried
        tried += 1
        raise KeyError("study")

    monkeypatch.setattr(Watcher, "reap", broken)
    with Heart(study, "cpu", grace_seconds=QUICK) as heart, heart.lease(trial._trial_id):
        wait_until(lambda: tried >= 3 and beats(study, trial) >= 3)


def test_a_heart_hears_that_running_trials_shall_stop_and_that_they_no_longer_shall(
    study: Study,
) -> None:
    with Heart(study, "cpu", grace_seconds=QUICK) as heart:
        assert heart.hear().stop is None
        ask_to_stop(study.storage, study.id, "later")
        assert heart.hear().stop == "later"
        assert not heart.shall_stop_now
        ask_to_stop(study.storage, study.id, "now", now=True)
        wait_until(lambda: heart.shall_stop_now)  # without being asked
        ask_for(study.storage, study.id, 1)
        assert heart.hear().n_trials == 1
        assert not heart.shall_stop_now


def test_a_trial_of_a_dead_process_of_this_machine_is_reaped_at_once(
    study: Study, begin_trial: BeginTrial, dead_worker: WorkerIdentity
) -> None:
    trial = begin_trial(study, worker=str(dead_worker))
    assert Watcher(study).reap() == [trial.number]
    ended, copy = study.optuna.trials
    assert ended.state == TrialState.FAIL
    assert ended.user_attrs[OUTCOME] == "handed back: its worker died"
    assert copy.state == TrialState.WAITING
    assert copy.user_attrs[ATTEMPT] == 2
    assert Watcher(study).reap() == []


def test_a_heart_reaps_without_being_asked(
    study: Study, begin_trial: BeginTrial, dead_worker: WorkerIdentity
) -> None:
    begin_trial(study, worker=str(dead_worker))
    with Heart(study, "cpu", grace_seconds=QUICK):
        wait_until(lambda: study.optuna.trials[0].state == TrialState.FAIL)


def test_of_many_workers_only_the_watchers_look_after_the_trials_of_others(
    study: Study, begin_trial: BeginTrial, dead_worker: WorkerIdentity
) -> None:
    """And the next one, as soon as one of them has not been seen for half the grace period."""
    trial = begin_trial(study, worker=str(dead_worker))
    first = [f"0000 {number} 0" for number in range(WATCHERS)]  # by name before any other
    row = {"study_id": study.id, "device": "cpu", "since": utc_now(), "seen": utc_now()}
    for name in first:
        study.storage.change(insert(workers).values(worker=name, **row))
    with Heart(study, "cpu", place=1) as heart:
        heart.beat()
        assert study.optuna.trials[trial.number].state == TrialState.RUNNING
        theirs = workers.c.worker == first[3]
        before = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=0.6 * GRACE_SECONDS)
        study.storage.change(update(workers).where(theirs).values(seen=before))
        heart.beat()
        assert study.optuna.trials[trial.number].state == TrialState.FAIL


def test_a_trial_of_a_living_process_is_never_reaped_while_it_beats(
    study: Study, begin_trial: BeginTrial, clock: Clock
) -> None:
    trial = begin_trial(study, worker=ELSEWHERE)
    watcher = Watcher(study)
    for _ in range(5):
        assert reaped_after(watcher, clock, 0.9 * GRACE_SECONDS) == []
        beat(study, trial)


@pytest.mark.parametrize("worker", [ELSEWHERE, "somebody", None])
def test_a_trial_that_stands_still_is_reaped_after_the_grace_period(
    study: Study, begin_trial: BeginTrial, clock: Clock, worker: str | None
) -> None:
    trial = begin_trial(study, worker=worker)
    watcher = Watcher(study)
    assert watcher.reap() == []
    assert reaped_after(watcher, clock, GRACE_SECONDS) == []
    assert reaped_after(watcher, clock, 1) == [trial.number]


def test_the_grace_period_begins_when_the_watcher_first_looks(
    study: Study, begin_trial: BeginTrial, clock: Clock
) -> None:
    """No matter how long the trial has stood still, or what other clocks say."""
    begin_trial(study, worker=ELSEWHERE)
    clock.now += 100 * GRACE_SECONDS
    watcher = Watcher(study)
    assert watcher.reap() == []
    assert reaped_after(watcher, clock, 0.9 * GRACE_SECONDS) == []


def test_who_could_not_look_for_long_takes_nobody_for_dead(
    study: Study, begin_trial: BeginTrial, clock: Clock
) -> None:
    """The database was away, the machine slept: the others have not beaten either."""
    trial = begin_trial(study, worker=ELSEWHERE)
    watcher = Watcher(study)
    assert reaped_after(watcher, clock, 0.9 * GRACE_SECONDS) == []
    clock.now += 10 * GRACE_SECONDS
    assert watcher.reap() == []
    assert reaped_after(watcher, clock, GRACE_SECONDS) == []
    assert reaped_after(watcher, clock, 1) == [trial.number]  # it is dead after all


def test_a_look_that_took_long_because_the_database_was_away_counts_as_no_look(
    study: Study, begin_trial: BeginTrial, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_trial(study, worker=ELSEWHERE)
    watcher = Watcher(study)
    watcher.reap()
    connect, left = study.storage.engine.connect, 3
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.001)

    def away() -> Any:
        nonlocal left
        if left:
            left -= 1
            clock.now += GRACE_SECONDS
            raise OperationalError("away", None, Exception("away"))
        return connect()

    with monkeypatch.context() as patch:
        patch.setattr(study.storage.engine, "connect", away)
        assert watcher.reap() == []
    assert left == 0


def test_who_stands_still_between_look_and_verdict_takes_nobody_for_dead(
    study: Study, begin_trial: BeginTrial, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen after the rows were read, and woken: they tell nothing any more."""
    trials = [begin_trial(study, worker=ELSEWHERE) for _ in range(3)]
    watcher = Watcher(study)
    watcher.reap()
    judge = Watcher._is_dead

    def frozen(*arguments: Any) -> bool:
        clock.now += 10 * GRACE_SECONDS
        return judge(*arguments)

    clock.now += LOOK
    with monkeypatch.context() as patch:
        patch.setattr(Watcher, "_is_dead", frozen)
        assert watcher.reap() == []
    assert reaped_after(watcher, clock, GRACE_SECONDS - 1) == []
    assert len(reaped_after(watcher, clock, 2 * LOOK)) == len(trials)


def test_a_verdict_that_comes_late_is_none(
    study: Study, begin_trial: BeginTrial, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_trial(study, worker=ELSEWHERE)
    watcher = Watcher(study)
    judge = Watcher._is_dead

    def frozen(*arguments: Any) -> bool:
        judge(*arguments)
        clock.now += 10 * GRACE_SECONDS
        return True

    monkeypatch.setattr(Watcher, "_is_dead", frozen)
    assert watcher.reap() == []


@pytest.fixture
def watchers(address: str, study: Study) -> Iterator[list[Watcher]]:
    """Eight, each with a connection of its own."""
    storages = [open_storage(address) for _ in range(8)]
    yield [Watcher(load_study(storage, study.name)) for storage in storages]
    for storage in storages:
        storage.engine.dispose()


@pytest.mark.slow
def test_8_who_reap_40_dead_trials_at_once_put_40_copies_in_line(
    study: Study, watchers: list[Watcher], begin_trial: BeginTrial, dead_worker: WorkerIdentity
) -> None:
    for _ in range(40):
        begin_trial(study, worker=str(dead_worker))
    ready = threading.Barrier(len(watchers))

    def reap(watcher: Watcher) -> list[int]:
        ready.wait(30)
        return watcher.reap()

    with ThreadPoolExecutor(len(watchers)) as threads:
        reaped = list(threads.map(reap, watchers))
    assert sorted(number for each in reaped for number in each) == list(range(40))
    trials = study.optuna.trials
    assert [trial.state for trial in trials[:40]] == [TrialState.FAIL] * 40
    assert [trial.state for trial in trials[40:]] == [TrialState.WAITING] * 40
    assert sorted(lineage(trial) for trial in trials[40:]) == [(k,) for k in range(40)]


def test_a_hand_back_that_was_killed_in_the_middle_is_mended(
    study: Study, begin_trial: BeginTrial, clock: Clock
) -> None:
    trial = begin_trial(study)
    end_trial(study, trial._trial_id, f"{HANDED_BACK}: its worker died")
    watcher = Watcher(study)
    watcher.reap()
    clock.now += COPY_SECONDS
    watcher.reap()
    assert len(study.optuna.trials) == 1  # somebody may be about to copy it
    clock.now += 1
    watcher.reap()
    watcher.reap()
    assert len(study.optuna.trials) == 2
    assert lineage(study.optuna.trials[1]) == (trial.number,)
    assert begin_trial(study).params == trial.params


def test_a_hand_back_that_goes_well_needs_no_mending(
    study: Study, begin_trial: BeginTrial, clock: Clock
) -> None:
    trial = begin_trial(study)
    end_trial(study, trial._trial_id, f"{HANDED_BACK}: its worker died")
    watcher = Watcher(study)
    watcher.reap()
    put_in_line(study, trial.number)
    clock.now += 2 * COPY_SECONDS
    watcher.reap()
    assert len(study.optuna.trials) == 2
    assert read_ledger(study.storage, study.id).in_hand == []
