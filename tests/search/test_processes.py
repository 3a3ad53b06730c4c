"""Worker processes: exactly N together, whatever becomes of one of them."""

import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url, select

from kidneyseg.errors import CorrectableError, KidneysegError
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.events import EpochFinished, TrialFinished
from kidneyseg.search.leases import ATTEMPT, OUTCOME, WorkerIdentity
from kidneyseg.search.objective import Workplace
from kidneyseg.search.processes import WorkOrder, work_in_processes
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


def worker_of(study: Study) -> int:
    """The process that trains the running trial."""
    running = [trial for trial in study.optuna.trials if trial.state.name == "RUNNING"]
    assert len(running) == 1
    query = select(leases.c.worker).where(leases.c.trial_id == running[0]._trial_id)
    with study.storage.engine.connect() as connection:
        identity = WorkerIdentity.parse(connection.execute(query).scalar_one())
    assert identity is not None
    return identity.pid


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
    assert sorted(event.finished for event in ended)[-1] == 5
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
    with pytest.raises(KidneysegError, match=f"exit code {-signal.SIGKILL}"):
        for told in work_in_processes(sqlite_address, [order(environment, 2)]):
            if isinstance(told.event, EpochFinished) and told.event.epoch == 2:
                killed = worker_of(study)
                os.kill(killed, signal.SIGKILL)
    left = study.optuna.trials
    assert [trial.state.name for trial in left] == ["RUNNING"]  # nobody could say good-bye
    with pytest.raises(ProcessLookupError):
        os.kill(killed, 0)
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
    told_of: set[int] = set()
    killed = 0
    with pytest.raises(KidneysegError, match=f"exit code {-signal.SIGKILL}"):
        for told in work_in_processes(sqlite_address, [order(longer(environment), 4)] * 2):
            told_of.add(told.worker)
            if not killed and isinstance(told.event, EpochFinished):
                trial = study.optuna.trials[told.event.trial]
                query = select(leases.c.worker).where(leases.c.trial_id == trial._trial_id)
                with storage.engine.connect() as connection:
                    identity = WorkerIdentity.parse(connection.execute(query).scalar_one())
                assert identity is not None
                killed = identity.pid
                os.kill(killed, signal.SIGKILL)
    assert killed
    assert told_of == {0, 1}
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
        pid = worker_of(study)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
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
        arguments = Path(f"/proc/{worker_of(study)}/cmdline").read_bytes()
    assert b"kidneyseg.search.processes" in arguments
    assert password.encode() not in arguments
    storage.engine.dispose()
