"""Several workers of one process: exactly N together, whatever becomes of one of them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import optuna
import psutil
import pytest
from sqlalchemy import make_url, select

from kidneyseg.errors import KidneysegError, Terminated, TrainingError
from kidneyseg.search import guarded_trial
from kidneyseg.search.budget import OUTCOME
from kidneyseg.search.events import EpochFinished, Event, Stopped, TrialFinished, TrialStarted
from kidneyseg.search.hand_back import ATTEMPT
from kidneyseg.search.objective import Workplace
from kidneyseg.search.orders import ask_to_stop
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.studies import load_study
from kidneyseg.search.tables import leases, workers
from kidneyseg.search.workers import WorkerEvent, work_together

Build = Callable[..., Workplace]
Trainers = Callable[[], list[psutil.Process]]


def places(first: Workplace, n_workers: int) -> list[Workplace]:
    """Workplaces in one study, as a program makes them."""
    study = first.study
    return [
        replace(
            first,
            place=place,
            study=load_study(study.storage, study.name),
            stopping=threading.Event(),
        )
        for place in range(n_workers)
    ]


def states(workplace: Workplace) -> list[str]:
    return [trial.state.name for trial in workplace.study.optuna.trials]


def wait_for_epochs(events: Iterator[WorkerEvent], n_trials: int) -> None:
    """Take events until so many trials have told of an epoch."""
    told: set[int] = set()
    for each in events:
        if isinstance(each.event, EpochFinished):
            told.add(each.event.trial)
        if len(told) == n_trials:
            return
    raise AssertionError("they ended early")


@pytest.mark.usefixtures("quick_trials")
@pytest.mark.parametrize("n_workers", [1, 2, 8])
def test_workers_of_one_process_give_exactly_n(
    either_storage: Storage, build_workplace: Build, n_workers: int
) -> None:
    workplace = build_workplace(either_storage)
    events = list(work_together(places(workplace, n_workers), 12))
    assert states(workplace).count("COMPLETE") == 12
    assert set(states(workplace)) <= {"COMPLETE", "FAIL"}
    ended = [each.event for each in events if isinstance(each.event, TrialFinished)]
    assert sum(event.state == "COMPLETE" for event in ended) == 12
    assert {each.worker for each in events} <= set(range(n_workers))


def test_two_workers_train_at_the_same_time_and_each_says_who_it_is(
    storage: Storage, long_trials: Build, trainers: Trainers
) -> None:
    workplace = long_trials(storage)
    with closing(work_together(places(workplace, 2), 4)) as events:
        wait_for_epochs(events, 2)
        assert len(trainers()) == 2
        held = storage.read(select(leases.c.worker)).scalars().all()
        assert len(set(held)) == 2
        assert sorted(held) == sorted(storage.read(select(workers.c.worker)).scalars())
    assert storage.read(select(workers)).all() == []


def test_stopped_early_all_hand_their_trials_back_and_no_process_is_left(
    storage: Storage, long_trials: Build, trainers: Trainers
) -> None:
    workplace = long_trials(storage)
    with closing(work_together(places(workplace, 2), 4)) as events:
        wait_for_epochs(events, 2)
    assert sorted(states(workplace)) == ["FAIL", "FAIL", "WAITING", "WAITING"]
    asked = "handed back: its worker was asked to stop"
    outcomes = [trial.user_attrs.get(OUTCOME) for trial in workplace.study.optuna.trials]
    assert outcomes.count(asked) == 2
    assert trainers() == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, Terminated])
def test_interrupted_between_two_events_all_hand_their_trials_back(
    storage: Storage,
    long_trials: Build,
    trainers: Trainers,
    interruption: type[BaseException],
) -> None:
    """As a signal's handler does in the thread that listens."""
    workplace = long_trials(storage)
    events = work_together(places(workplace, 2), 4)
    wait_for_epochs(events, 2)
    with pytest.raises(interruption):
        events.throw(interruption())
    assert sorted(states(workplace)) == ["FAIL", "FAIL", "WAITING", "WAITING"]
    assert trainers() == []


def test_a_training_that_is_killed_goes_on_in_another_process(
    storage: Storage, long_trials: Build, trainers: Trainers
) -> None:
    workplace = long_trials(storage)
    told = []
    killed = 0
    for each in work_together(places(workplace, 1), 1):
        told.append(each.event)
        if not killed and isinstance(each.event, EpochFinished) and each.event.epoch == 2:
            (child,) = trainers()
            killed = child.pid
            os.kill(killed, signal.SIGKILL)
    assert killed
    first, second = workplace.study.optuna.trials
    assert (first.state.name, second.state.name) == ("FAIL", "COMPLETE")
    assert first.user_attrs[OUTCOME].startswith("handed back: its process was ended by SIGKILL")
    assert second.user_attrs[ATTEMPT] == 1  # it got on before
    assert second.params == first.params
    assert sorted(second.intermediate_values) == list(range(1, 9))
    again = [event for event in told if isinstance(event, TrialStarted)][1]
    assert again.finished_epochs >= 2
    epochs = [event.epoch for event in told if isinstance(event, EpochFinished)]
    assert len(epochs) == len(set(epochs))  # none was trained twice


@pytest.mark.usefixtures("quick_trials")
def test_the_others_finish_the_work_of_one_that_fails_and_its_error_is_told(
    storage: Storage, build_workplace: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = vars(guarded_trial)["run_trial"]

    def failing(workplace: Workplace, trial: optuna.Trial) -> Generator[Any, None, None]:
        if workplace.place == 0:
            workplace.study.definition.draw(trial)
            raise TrainingError("this GPU is broken")
        time.sleep(0.05)  # so that it gets to its three failures
        yield from run(workplace, trial)

    monkeypatch.setattr(guarded_trial, "run_trial", failing)
    workplace = build_workplace(storage)
    told: list[Event] = []
    with pytest.raises(KidneysegError, match=r"3 trials in a row failed.*this GPU is broken"):
        told.extend(each.event for each in work_together(places(workplace, 2), 8))
    assert states(workplace).count("COMPLETE") == 8
    assert states(workplace).count("FAIL") == 3


@pytest.mark.usefixtures("quick_trials")
def test_a_stopped_study_ends_all(storage: Storage, build_workplace: Build) -> None:
    workplace = build_workplace(storage)
    ask_to_stop(storage, workplace.study.id, "by hand")
    events = [each.event for each in work_together(places(workplace, 3), 5)]
    assert events == [Stopped(reason="by hand")] * 3


@pytest.mark.usefixtures("quick_trials")
def test_after_the_work_the_database_is_still_waited_for(
    storage: Storage, build_workplace: Build
) -> None:
    """`worker --wait` takes up the next study with it."""
    list(work_together(places(build_workplace(storage), 2), 2))
    assert not storage.patience._hurry.is_set()


@pytest.mark.usefixtures("quick_trials")
def test_stopped_early_nobody_waits_for_a_database_that_is_away(
    storage: Storage, build_workplace: Build
) -> None:
    events = work_together(places(build_workplace(storage), 2), 20)
    next(events)
    events.close()
    assert storage.patience._hurry.is_set()


@pytest.mark.postgres
def test_no_process_has_the_password_among_its_arguments(
    postgres_database: str, long_trials: Build
) -> None:
    storage = open_storage(postgres_database)
    with closing(work_together(places(long_trials(storage), 1), 1)) as events:
        wait_for_epochs(events, 1)
        lines = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert any("forkserver" in line for line in lines)
    password = str(make_url(postgres_database).password)
    assert not [line for line in lines if password in line]
    storage.engine.dispose()
