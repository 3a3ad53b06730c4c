"""A worker reaches exactly N, goes on where it was stopped, and says what went wrong."""

import os
import signal
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from kidneyseg.errors import KidneysegError, StorageLostError, Terminated, TrainingError
from kidneyseg.search import worker
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.events import EpochFinished, Event, TrialFinished, TrialStarted, Waiting
from kidneyseg.search.leases import HANDED_BACK, OUTCOME, SURPLUS, end_trial
from kidneyseg.search.objective import Workplace
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.worker import work
from kidneyseg.training.tensorboard import TensorBoardLog

BuildWorkplace = Callable[..., Workplace]
TrialEvents = Generator[TrialStarted | EpochFinished, None, None]


@pytest.fixture
def workplace(either_storage: Storage, build_workplace: BuildWorkplace) -> Workplace:
    return build_workplace(either_storage)


def states(workplace: Workplace) -> list[str]:
    return [trial.state.name for trial in workplace.study.optuna.trials]


def outcomes(workplace: Workplace) -> list[str | None]:
    return [trial.user_attrs.get(OUTCOME) for trial in workplace.study.optuna.trials]


def fail_with(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, *, only: tuple[int, ...] | None = None
) -> None:
    """Let trials end with an error after they drew; the others run as they did."""
    run = vars(worker)["run_trial"]

    def failing(workplace: Workplace, trial: optuna.Trial) -> TrialEvents:
        if only is not None and trial.number not in only:
            yield from run(workplace, trial)
            return
        definition = workplace.study.definition
        definition.space.draw(trial, definition.fixed)
        yield TrialStarted(trial=trial.number, hyperparameters=dict(trial.params))
        raise error

    monkeypatch.setattr(worker, "run_trial", failing)


def finished(events: Iterator[Event]) -> list[TrialFinished]:
    return [event for event in events if isinstance(event, TrialFinished)]


@pytest.mark.usefixtures("quick_trials")
def test_a_study_ends_with_exactly_n_trials_and_a_larger_n_goes_on(workplace: Workplace) -> None:
    assert len(finished(work(workplace, 3))) == 3
    assert states(workplace) == ["COMPLETE"] * 3
    assert list(work(workplace, 3)) == []
    assert list(work(workplace, 2)) == []
    assert len(finished(work(workplace, 5))) == 2
    assert states(workplace) == ["COMPLETE"] * 5


@pytest.mark.usefixtures("quick_trials")
def test_events_tell_a_trials_course(workplace: Workplace) -> None:
    started, first, second, ended = work(workplace, 1)
    assert isinstance(started, TrialStarted)
    assert started.hyperparameters == {"learning_rate": 0.01, "beta": 0.5}
    assert isinstance(first, EpochFinished)
    assert isinstance(second, EpochFinished)
    assert (first.epoch, second.epoch) == (1, 2)
    assert isinstance(ended, TrialFinished)
    assert (ended.trial, ended.state, ended.epochs, ended.reason) == (0, "COMPLETE", 2, "")
    assert ended.dice == second.best_dice
    assert (ended.finished, ended.n_trials) == (1, 1)


def test_real_trials_run_and_are_told(storage: Storage, build_workplace: BuildWorkplace) -> None:
    workplace = build_workplace(storage)
    ended = finished(work(workplace, 2))
    trials = workplace.study.optuna.trials
    assert [event.dice for event in ended] == [trial.value for trial in trials]
    assert [len(trial.intermediate_values) for trial in trials] == [2, 2]


@pytest.mark.usefixtures("quick_trials")
@pytest.mark.parametrize("kind", [TrialStarted, EpochFinished])
def test_a_trial_that_is_closed_in_the_middle_is_handed_back_and_taken_up_again(
    workplace: Workplace, kind: type[Event]
) -> None:
    list(work(workplace, 1))
    events = work(workplace, 3)
    while not isinstance(next(events), kind):
        pass
    events.close()
    assert states(workplace) == ["COMPLETE", "FAIL", "WAITING"]
    assert outcomes(workplace)[1] == HANDED_BACK
    list(work(workplace, 3))
    assert states(workplace) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    trials = workplace.study.optuna.trials
    assert trials[2].params == trials[1].params


@pytest.mark.usefixtures("quick_trials")
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, Terminated])
def test_an_interruption_hands_the_trial_back_and_goes_through(
    workplace: Workplace,
    interruption: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        fail_with(interruption(), patch)
        with pytest.raises(interruption):
            list(work(workplace, 2))
    assert states(workplace) == ["FAIL", "WAITING"]
    list(work(workplace, 2))
    assert states(workplace) == ["FAIL", "COMPLETE", "COMPLETE"]


@pytest.mark.usefixtures("quick_trials")
def test_failed_trials_do_not_count_and_are_told_with_their_reason(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(ValueError("no such thing\nat all"), monkeypatch, only=(0, 1, 3))
    events = finished(work(workplace, 3))
    assert [event.state for event in events] == ["FAIL", "FAIL", "COMPLETE", "FAIL"] + [
        "COMPLETE"
    ] * 2
    assert events[0].reason == "ValueError: no such thing"
    first = workplace.study.optuna.trials[0]
    assert first.user_attrs[OUTCOME] == "failed: ValueError: no such thing"
    assert "no such thing\nat all" in first.user_attrs["traceback"]


@pytest.mark.usefixtures("quick_trials")
def test_three_failures_in_a_row_end_the_work(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(TrainingError("training loss is nan"), monkeypatch)
    with pytest.raises(KidneysegError, match=r"'tiny': 3 trials in a row .*: training loss is nan"):
        list(work(workplace, 5))
    assert states(workplace) == ["FAIL"] * 3


@pytest.mark.usefixtures("quick_trials")
def test_a_trial_taken_over_meanwhile_does_not_stop_the_worker(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it notices at its next report, or dies of something else before."""
    run = vars(worker)["run_trial"]

    def taken_over(workplace: Workplace, trial: optuna.Trial) -> TrialEvents:
        if trial.number < 2:
            study = workplace.study
            end_trial(study, study.storage.optuna.get_trial(trial._trial_id), "reaped")
        if trial.number == 1:
            raise RuntimeError("out of memory")
        yield from run(workplace, trial)

    monkeypatch.setattr(worker, "run_trial", taken_over)
    events = finished(work(workplace, 1))
    assert [event.state for event in events] == ["FAIL", "FAIL", "COMPLETE"]
    assert "taken over by another worker" in events[0].reason
    assert outcomes(workplace)[:2] == ["reaped", "reaped"]


@pytest.mark.usefixtures("quick_trials")
def test_a_trial_beyond_the_budget_is_told_to_be_surplus(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker takes the last place between this one's look and its trial."""
    study = workplace.study.optuna
    ask = study.ask
    others: list[optuna.Trial] = []

    def ask_late(*_: object) -> optuna.Trial:
        if not others:
            others.append(ask())
        return ask()

    monkeypatch.setattr(type(study), "ask", ask_late)
    events = work(workplace, 1)
    assert next(events) == Waiting(running=1)
    assert states(workplace) == ["RUNNING", "FAIL"]
    assert outcomes(workplace)[1] == SURPLUS
    study.tell(others[0], 0.5)
    assert list(events) == []
    assert states(workplace) == ["COMPLETE", "FAIL"]


@pytest.mark.usefixtures("quick_trials")
def test_a_worker_waits_for_the_last_trials_of_others_and_takes_them_up_when_they_fail(
    workplace: Workplace,
) -> None:
    study = workplace.study.optuna
    theirs = study.ask()
    events = work(workplace, 1)
    assert next(events) == Waiting(running=1)
    study.tell(theirs, state=TrialState.FAIL)
    assert [event.trial for event in finished(events)] == [1]


@pytest.mark.usefixtures("quick_trials")
def test_workers_at_the_same_time_end_with_exactly_n(
    address: str, build_workplace: BuildWorkplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four of them, each with a connection of its own, some of whose trials fail."""
    fail_with(ValueError("unlucky"), monkeypatch, only=(1, 4))
    storages = [open_storage(address) for _ in range(4)]
    places = [build_workplace(storage) for storage in storages]
    with ThreadPoolExecutor(4) as threads:
        ended = list(threads.map(lambda place: finished(work(place, 8)), places))
    counted = states(places[0])
    assert counted.count("COMPLETE") == 8
    assert set(counted) == {"COMPLETE", "FAIL"}
    assert sum(event.state == "COMPLETE" for each in ended for event in each) == 8
    assert sum(1 for each in ended if each) > 1
    for storage in storages:
        storage.engine.dispose()


@pytest.mark.usefixtures("quick_trials")
@pytest.mark.parametrize("place", ["before", "within"])
def test_a_lost_database_is_told_in_one_line(
    workplace: Workplace, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = workplace.study.storage.engine
    events = work(workplace, 2)
    if place == "within":
        next(events)

    def lost(*_: object, **__: object) -> None:
        raise OperationalError("SELECT 1", None, Exception("server closed the connection\nwhy"))

    monkeypatch.setattr(type(engine), "connect", lost)
    monkeypatch.setattr(engine.dialect, "do_execute", lost)
    with pytest.raises(StorageLostError) as caught:
        list(events)
    message = str(caught.value)
    assert message.startswith(f"{workplace.study.storage.address}: lost in the middle")
    assert "server closed the connection" in message
    assert "the same command goes on" in message
    assert "\n" not in message


@pytest.mark.usefixtures("quick_trials")
def test_pruned_trials_count(
    storage: Storage, build_workplace: BuildWorkplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace = build_workplace(storage)

    def pruned(workplace: Workplace, trial: optuna.Trial) -> TrialEvents:
        definition = workplace.study.definition
        definition.space.draw(trial, definition.fixed)
        yield TrialStarted(trial=trial.number, hyperparameters=dict(trial.params))
        trial.report(0.1, 1)
        workplace.study.optuna.tell(trial, state=TrialState.PRUNED)

    monkeypatch.setattr(worker, "run_trial", pruned)
    assert [event.state for event in finished(work(workplace, 2))] == ["PRUNED", "PRUNED"]


def test_sigterm_in_mid_epoch_hands_the_trial_back(
    storage: Storage, build_workplace: BuildWorkplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace = build_workplace(storage)

    def terminate(_signal: int, _frame: object) -> None:
        raise Terminated

    def receive(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TensorBoardLog, "add", receive)
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        with pytest.raises(Terminated):
            list(work(workplace, 2))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert states(workplace) == ["FAIL", "WAITING"]


def test_a_study_with_a_pruner_ends_with_exactly_n_too(
    storage: Storage, build_workplace: BuildWorkplace, build_plan: Callable[..., StudyPlan]
) -> None:
    plan = build_plan(pruner={"name": "median", "n_startup_trials": 1, "n_warmup_epochs": 1})
    workplace = build_workplace(storage, plan)
    assert len(finished(work(workplace, 4))) == 4
    assert set(states(workplace)) <= {"COMPLETE", "PRUNED"}
