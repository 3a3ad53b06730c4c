"""Worker processes: exactly N together, whatever becomes of one of them."""

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from sqlalchemy import make_url, select

from kidneyseg.errors import CorrectableError, KidneysegError
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.events import EpochFinished, TrialFinished
from kidneyseg.search.leases import ATTEMPT, OUTCOME, WorkerIdentity
from kidneyseg.search.objective import Workplace
from kidneyseg.search.processes import WorkerEvent, WorkOrder, work_in_processes
from kidneyseg.search.service import begin_study
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.studies import Study
from kidneyseg.search.tables import leases
from kidneyseg.search.worker import work
from kidneyseg.settings import Environment

pytestmark = pytest.mark.slow  # every process imports torch


def order(environment: Environment, n_trials: int) -> WorkOrder:
    return WorkOrder(
        study="tiny", n_trials=n_trials, environment=environment, device="cpu", threads=1
    )


def longer(environment: Environment) -> Environment:
    """Trials of many epochs, so that there is a middle to interrupt."""
    training = environment.training.model_copy(update={"max_epochs": 12, "patience": 99})
    return environment.model_copy(update={"training": training})


def trainer_of(study: Study, number: int) -> int:
    """The process that trains a trial."""
    trial_id = study.optuna.trials[number]._trial_id
    query = select(leases.c.worker).where(leases.c.trial_id == trial_id)
    with study.storage.engine.connect() as connection:
        identity = WorkerIdentity.parse(connection.execute(query).scalar_one())
    assert identity is not None
    return identity.pid


class Killed:
    """The first worker that told of the second epoch of a trial, killed in the middle of the third.

    And the workers that were heard of.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.pid = 0
        self.told_of: set[int] = set()

    def one_of(self, events: Iterable[WorkerEvent]) -> None:
        for told in events:
            self.told_of.add(told.worker)
            event = told.event
            if not self.pid and isinstance(event, EpochFinished) and event.epoch == 2:
                self.pid = trainer_of(self.study, event.trial)
                os.kill(self.pid, signal.SIGKILL)


@pytest.fixture
def begin(build_plan: Callable[..., StudyPlan]) -> Callable[..., Workplace]:
    """Create the study `tiny` in given settings."""

    def build(storage: Storage, environment: Environment) -> Workplace:
        return begin_study(storage, "tiny", build_plan(), environment).workplace("cpu")

    return build


def test_two_processes_give_exactly_n(
    address: str,
    either_storage: Storage,
    begin: Callable[..., Workplace],
    environment: Environment,
) -> None:
    study = begin(either_storage, environment).study
    events = list(work_in_processes(address, [order(environment, 5)] * 2))
    assert [trial.state.name for trial in study.optuna.trials].count("COMPLETE") == 5
    ended = [told.event for told in events if isinstance(told.event, TrialFinished)]
    assert max(event.finished for event in ended) == 5
    assert len([event for event in ended if event.state == "COMPLETE"]) == 5


def test_a_killed_process_leaves_a_trial_that_the_next_call_takes_up_at_once(
    sqlite_address: str,
    storage: Storage,
    begin: Callable[..., Workplace],
    environment: Environment,
) -> None:
    environment = longer(environment)
    workplace = begin(storage, environment)
    study = workplace.study
    orders, killed = [order(environment, 2)], Killed(study)
    with pytest.raises(KidneysegError, match=f"exit code {-signal.SIGKILL}"):
        killed.one_of(work_in_processes(sqlite_address, orders))
    left = study.optuna.trials
    assert [trial.state.name for trial in left] == ["RUNNING"]  # nobody could say good-bye
    assert killed.pid
    assert not psutil.pid_exists(killed.pid)
    list(work(workplace, 2))
    trials = study.optuna.trials
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert trials[0].user_attrs[OUTCOME] == "handed back: its worker died"
    assert trials[1].params == trials[0].params
    assert trials[1].user_attrs[ATTEMPT] == 2


def test_the_others_finish_the_work_of_a_killed_process(
    sqlite_address: str,
    storage: Storage,
    begin: Callable[..., Workplace],
    environment: Environment,
) -> None:
    study = begin(storage, longer(environment)).study
    orders, killed = [order(longer(environment), 4)] * 2, Killed(study)
    with pytest.raises(KidneysegError, match=f"exit code {-signal.SIGKILL}"):
        killed.one_of(work_in_processes(sqlite_address, orders))
    assert killed.pid
    assert killed.told_of == {0, 1}
    states = [trial.state.name for trial in study.optuna.trials]
    assert states.count("COMPLETE") == 4
    assert states.count("FAIL") == 1
    assert "RUNNING" not in states


def test_stopped_early_the_processes_hand_their_trials_back(
    sqlite_address: str,
    storage: Storage,
    begin: Callable[..., Workplace],
    environment: Environment,
) -> None:
    study = begin(storage, longer(environment)).study
    with closing(work_in_processes(sqlite_address, [order(longer(environment), 4)])) as events:
        while not isinstance(next(events).event, EpochFinished):
            pass
        pid = trainer_of(study, 0)
    assert not psutil.pid_exists(pid)
    assert [trial.state.name for trial in study.optuna.trials] == ["FAIL", "WAITING"]


def test_a_process_that_cannot_work_says_why_in_its_own_words(
    sqlite_address: str, storage: Storage, environment: Environment
) -> None:
    with pytest.raises(CorrectableError, match=r"study 'tiny': not in sqlite.*there: none"):
        list(work_in_processes(sqlite_address, [order(environment, 2)]))


def test_a_process_that_talks_much_on_stderr_does_not_stand_still(
    sqlite_address: str,
    storage: Storage,
    begin: Callable[..., Workplace],
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than a pipe holds: Python tells there of every import."""
    begin(storage, environment)
    monkeypatch.setenv("PYTHONVERBOSE", "1")
    events = [told.event for told in work_in_processes(sqlite_address, [order(environment, 1)])]
    assert isinstance(events[-1], TrialFinished)


@pytest.mark.postgres
def test_no_process_has_the_password_among_its_arguments(
    postgres_database: str,
    begin: Callable[..., Workplace],
    environment: Environment,
) -> None:
    storage = open_storage(postgres_database)
    study = begin(storage, longer(environment)).study
    password = str(make_url(postgres_database).password)
    with closing(work_in_processes(postgres_database, [order(longer(environment), 1)])) as events:
        while not isinstance(next(events).event, EpochFinished):
            pass
        arguments = Path(f"/proc/{trainer_of(study, 0)}/cmdline").read_bytes()
    assert b"kidneyseg.search.processes" in arguments
    assert password.encode() not in arguments
    storage.engine.dispose()
