"""A worker reaches exactly N, goes on where it was stopped, and says what went wrong."""

import errno
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from optuna_dashboard import get_note
from sqlalchemy.exc import OperationalError

from kidneyseg.ct.shown_names import ShownNames
from kidneyseg.errors import (
    DiskFullError,
    KidneysegError,
    StorageLostError,
    StudyStoppedError,
    Terminated,
    TrainingError,
)
from kidneyseg.search import patience, worker
from kidneyseg.search.budget import HANDED_BACK, OUTCOME, SURPLUS
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.events import (
    EpochFinished,
    Event,
    Stopped,
    TakenOver,
    TrialFinished,
    TrialStarted,
    Waiting,
)
from kidneyseg.search.hand_back import ATTEMPT, end_trial, hand_back
from kidneyseg.search.identity import WorkerIdentity
from kidneyseg.search.leases import Heart
from kidneyseg.search.lineage import TAKEN_OVER
from kidneyseg.search.notes import refresh_note
from kidneyseg.search.objective import TrialFailedError, Workplace
from kidneyseg.search.orders import ask_for, ask_to_stop, read_order
from kidneyseg.search.patience import Patience
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.studies import Study
from kidneyseg.search.training_process import LimitExceededError, TrialProcessDiedError
from kidneyseg.search.twins import find_twin
from kidneyseg.search.worker import CROWD, work

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
        workplace.study.definition.draw(trial)
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
def test_with_pseudonyms_only_the_display_is_told_a_name(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ShownNames(key="k", mentions={"Abel": "case-1"})
    hidden = replace(workplace, cases=replace(workplace.cases, names=names))
    fail_with(TrialFailedError("no scan of Abel", "Traceback: Abel"), monkeypatch)
    events = work(hidden, 9)
    reasons = [event.reason for event in islice(events, 6) if isinstance(event, TrialFinished)]
    assert reasons == ["no scan of Abel"] * 3
    with pytest.raises(KidneysegError, match=r"no scan of case-1$"):
        next(events)
    assert outcomes(workplace) == ["failed: no scan of case-1"] * 3
    attributes = [trial.user_attrs for trial in workplace.study.optuna.trials]
    assert {each["traceback"] for each in attributes} == {"Traceback: case-1"}
    storage = workplace.study.storage
    noted = str(storage.optuna.get_study_system_attrs(workplace.study.id))
    assert "case-1" in noted
    assert "Abel" not in noted
    assert "case-1" in str(read_order(storage, workplace.study.id).stop)


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
    assert outcomes(workplace)[1] == "handed back: its worker was asked to stop"
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
            end_trial(study, trial._trial_id, "reaped")
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
    places = [replace(build_workplace(storage), place=k) for k, storage in enumerate(storages)]
    with ThreadPoolExecutor(4) as threads:
        ended = list(threads.map(lambda place: finished(work(place, 8)), places))
    counted = states(places[0])
    assert counted.count("COMPLETE") == 8
    assert set(counted) == {"COMPLETE", "FAIL"}
    assert sum(event.state == "COMPLETE" for each in ended for event in each) == 8
    assert sum(1 for each in ended if each) > 1
    for storage in storages:
        storage.engine.dispose()


class Lost:
    """A database that is away, for good or for some calls."""

    def __init__(
        self, workplace: Workplace, monkeypatch: pytest.MonkeyPatch, times: int | None = None
    ) -> None:
        engine = workplace.study.storage.engine
        self.left = times
        self.failed = 0
        self._connect, self._execute = engine.connect, engine.dialect.do_execute
        monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.001)
        monkeypatch.setattr(engine, "connect", self._do_connect)
        monkeypatch.setattr(engine.dialect, "do_execute", self._do_execute)

    def _fail(self) -> None:
        if self.left == 0:
            return
        if self.left is not None:
            self.left -= 1
        self.failed += 1
        raise OperationalError("SELECT 1", None, Exception("server closed the connection\nwhy"))

    def _do_connect(self) -> Any:
        self._fail()
        return self._connect()

    def _do_execute(self, *arguments: Any) -> None:
        self._fail()
        self._execute(*arguments)


@pytest.mark.usefixtures("quick_trials")
@pytest.mark.parametrize("place", ["before", "within"])
def test_a_database_lost_for_good_is_told_in_one_line(
    workplace: Workplace, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optuna.storages._rdb.storage.time.sleep", lambda _: None)
    workplace.study.storage.patience.seconds = 0.2
    events = work(workplace, 2)
    if place == "within":
        next(events)
    lost = Lost(workplace, monkeypatch)
    with pytest.raises(StorageLostError) as caught:
        list(events)
    assert lost.failed > 1  # it was waited for
    message = str(caught.value)
    assert message.startswith(f"{workplace.study.storage.address}: lost in the middle")
    assert "server closed the connection" in message
    assert "the same command goes on" in message
    assert "\n" not in message


@pytest.mark.usefixtures("quick_trials")
@pytest.mark.parametrize("how", ["closed", "asked", "stopped"])
def test_when_work_ends_early_the_note_says_how_things_stand(
    workplace: Workplace, how: str
) -> None:
    study = workplace.study
    list(work(workplace, 1))
    assert "1 waiting" not in get_note(study.optuna)
    events = work(workplace, 3)
    while not isinstance(next(events), EpochFinished):
        pass
    refresh_note(study, workplace.cases.split, at_once=True)
    assert "1 running" in get_note(study.optuna)
    if how == "closed":
        events.close()
    elif how == "asked":
        workplace.stopping.set()
    else:
        ask_to_stop(study.storage, study.id, "by hand")
    list(events)
    note = get_note(study.optuna)
    assert "1 running" not in note
    assert ("No new trial begins: by hand" if how == "stopped" else "1 waiting") in note


@pytest.mark.usefixtures("quick_trials")
@pytest.mark.parametrize("is_known", [True, False])
def test_an_interruption_is_not_held_up_by_the_note_where_the_database_is_away(
    workplace: Workplace, *, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optuna.storages._rdb.storage.time.sleep", lambda _: None)
    lost = Lost(workplace, monkeypatch, times=0)
    storage = workplace.study.storage

    def hand_back_last(study: Study, trial_id: int) -> None:
        hand_back(study, trial_id)
        lost.left = 1000
        if is_known:
            monkeypatch.setattr(Patience, "is_waiting", True)
            monkeypatch.setattr(worker, "refresh_note", lambda *_, **_more: pytest.fail("asked"))
        storage.patience.hurry()

    monkeypatch.setattr(worker, "hand_back", hand_back_last)
    fail_with(KeyboardInterrupt(), monkeypatch)
    with pytest.raises((KeyboardInterrupt, StorageLostError)) as caught:
        list(work(workplace, 2))
    lost.left = 0
    assert caught.type is KeyboardInterrupt
    assert states(workplace) == ["FAIL", "WAITING"]


@pytest.mark.usefixtures("quick_trials")
def test_a_database_that_comes_back_costs_no_trial(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optuna.storages._rdb.storage.time.sleep", lambda _: None)
    lost = Lost(workplace, monkeypatch, times=0)
    for event in work(workplace, 3):
        assert not isinstance(event, Stopped)
        lost.left = 3
    assert lost.failed >= 3 * 3
    assert states(workplace) == ["COMPLETE"] * 3
    assert [len(trial.intermediate_values) for trial in workplace.study.optuna.trials] == [2] * 3


@pytest.mark.usefixtures("quick_trials")
def test_pruned_trials_count(
    storage: Storage, build_workplace: BuildWorkplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace = build_workplace(storage)

    def pruned(workplace: Workplace, trial: optuna.Trial) -> TrialEvents:
        workplace.study.definition.draw(trial)
        yield TrialStarted(trial=trial.number, hyperparameters=dict(trial.params))
        trial.report(0.1, 1)
        workplace.study.optuna.tell(trial, state=TrialState.PRUNED)

    monkeypatch.setattr(worker, "run_trial", pruned)
    assert [event.state for event in finished(work(workplace, 2))] == ["PRUNED", "PRUNED"]


@pytest.mark.usefixtures("quick_trials")
@pytest.mark.parametrize("kind", [TrialStarted, EpochFinished])
def test_asked_to_stop_a_worker_hands_its_trial_back_and_ends(
    workplace: Workplace, kind: type[Event]
) -> None:
    events = work(workplace, 2)
    while not isinstance(next(events), kind):
        pass
    workplace.stopping.set()
    assert list(events) == []
    assert states(workplace) == ["FAIL", "WAITING"]
    assert outcomes(workplace)[0] == "handed back: its worker was asked to stop"


@pytest.mark.usefixtures("quick_trials")
def test_a_stopped_study_gets_no_new_trial_but_keeps_the_running_one(workplace: Workplace) -> None:
    study = workplace.study
    events = work(workplace, 2)
    next(events)
    ask_to_stop(study.storage, study.id, "by hand")
    *_, ended, stopped = events
    assert isinstance(ended, TrialFinished)
    assert stopped == Stopped(reason="by hand")
    assert states(workplace) == ["COMPLETE"]
    assert list(work(workplace, 2)) == [Stopped(reason="by hand")]
    ask_for(study.storage, study.id, 2)
    assert len(finished(work(workplace))) == 1


@pytest.mark.usefixtures("quick_trials")
def test_a_study_stopped_at_once_has_its_running_trial_handed_back(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = workplace.study
    hurried = replace(workplace, grace_seconds=0.08)  # a hundred beats a second
    run = vars(worker)["run_trial"]

    def endless(workplace: Workplace, trial: optuna.Trial) -> TrialEvents:
        yield next(run(workplace, trial))
        yield from cycle_of_nothing()

    monkeypatch.setattr(worker, "run_trial", endless)
    events = work(hurried, 2)
    next(events)
    ask_to_stop(study.storage, study.id, "by hand", now=True)
    assert list(events) == [Stopped(reason="by hand")]
    assert states(workplace) == ["FAIL", "WAITING"]
    monkeypatch.setattr(worker, "run_trial", run)
    ask_for(study.storage, study.id, 2)
    assert len(finished(work(hurried))) == 2


def cycle_of_nothing() -> Generator[Any, None, None]:
    """What a trial tells while its process trains."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        time.sleep(0.01)
        yield None
    raise AssertionError("nobody stopped it")


@pytest.mark.usefixtures("quick_trials")
def test_the_budget_of_the_study_counts_where_no_number_is_given(workplace: Workplace) -> None:
    study = workplace.study
    assert list(work(workplace)) == []
    study.ask_for(1)
    events = work(workplace)
    next(events)
    study.ask_for(3)  # while it works
    assert len(finished(events)) == 3


@pytest.mark.usefixtures("quick_trials")
def test_a_trial_whose_process_died_is_tried_again_and_is_no_failure(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(TrialProcessDiedError("its process was ended by SIGSEGV"), monkeypatch, only=(0, 1))
    first, second, third = finished(work(workplace, 1))
    assert [(event.state, event.goes_on) for event in (first, second)] == [("FAIL", True)] * 2
    assert (third.state, third.goes_on) == ("COMPLETE", False)
    assert first.reason == "its process was ended by SIGSEGV"
    trials = workplace.study.optuna.trials
    assert [trial.user_attrs.get(ATTEMPT) for trial in trials] == [None, 2, 3]
    assert [trial.params for trial in trials] == [trials[0].params] * 3
    assert outcomes(workplace)[0] == "handed back: its process was ended by SIGSEGV"


@pytest.mark.usefixtures("quick_trials")
def test_hyperparameters_that_kill_every_process_fail_once_and_end_no_worker(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = TrialProcessDiedError("its process was ended by SIGKILL")
    fail_with(died, monkeypatch, only=(0, 1, 2))
    ended = finished(work(workplace, 1))
    assert [event.state for event in ended] == ["FAIL"] * 3 + ["COMPLETE"]
    assert [event.goes_on for event in ended] == [True, True, False, False]
    assert outcomes(workplace)[2] == "failed: its process was ended by SIGKILL, 3 times"


@pytest.mark.usefixtures("quick_trials")
def test_where_every_process_dies_the_work_ends_too(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(TrialProcessDiedError("its process was ended by SIGKILL"), monkeypatch)
    with pytest.raises(KidneysegError, match="3 trials in a row failed, the last one: its process"):
        list(work(workplace, 1))
    assert states(workplace) == ["FAIL"] * 9


@pytest.mark.usefixtures("quick_trials")
def test_the_trainings_own_traceback_is_on_its_trial(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(TrialFailedError("no memory", "Traceback: in the process"), monkeypatch, only=(0,))
    assert finished(work(workplace, 1))[0].reason == "no memory"
    first = workplace.study.optuna.trials[0]
    assert first.user_attrs["traceback"] == "Traceback: in the process"
    assert first.user_attrs[OUTCOME] == "failed: no memory"


@pytest.mark.usefixtures("quick_trials")
def test_where_a_process_crashed_is_on_its_trial(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = workplace.runs.crash(workplace.study.name, 0)
    crash.parent.mkdir(parents=True)
    crash.write_text("Fatal Python error: Segmentation fault", encoding="utf-8")
    fail_with(TrialProcessDiedError("its process was ended by SIGSEGV"), monkeypatch, only=(0,))
    list(work(workplace, 1))
    first, second = workplace.study.optuna.trials
    assert first.user_attrs["traceback"] == "Fatal Python error: Segmentation fault"
    assert first.user_attrs[OUTCOME] == "handed back: its process was ended by SIGSEGV"
    assert second.state.name == "COMPLETE"


@pytest.mark.usefixtures("quick_trials")
def test_a_study_that_is_deleted_meanwhile_is_told_in_one_line(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = vars(worker)["run_trial"]

    def deleted(workplace: Workplace, trial: optuna.Trial) -> TrialEvents:
        study = workplace.study
        optuna.delete_study(study_name=study.name, storage=study.storage.optuna)
        yield from run(workplace, trial)

    monkeypatch.setattr(worker, "run_trial", deleted)
    with pytest.raises(StudyStoppedError, match=f"{workplace.study.name}.*: it was deleted"):
        list(work(workplace, 1))


@pytest.mark.usefixtures("quick_trials")
@pytest.mark.parametrize(("n_others", "n_waits"), [(CROWD, 1), (2, 0)])
def test_where_many_come_at_once_each_waits_a_little(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, n_others: int, n_waits: int
) -> None:
    """They are in the table of workers before any of them has a trial."""
    waits: list[float] = []
    monkeypatch.setattr(workplace.stopping, "wait", waits.append)
    with ExitStack() as stack:
        for place in range(1, n_others + 1):
            stack.enter_context(Heart(workplace.study, "cpu", place))
        list(work(workplace, 1))
    assert len(waits) == n_waits
    assert all(0 <= seconds <= 0.5 for seconds in waits)


@pytest.mark.usefixtures("quick_trials")
def test_a_trial_that_takes_more_than_it_may_fails_with_the_limit(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(LimitExceededError("took longer than the study allows"), monkeypatch, only=(0,))
    assert [event.goes_on for event in finished(work(workplace, 1))] == [False, False]
    assert outcomes(workplace)[0] == "failed: took longer than the study allows"


@pytest.mark.usefixtures("quick_trials")
@pytest.mark.parametrize(
    "error", [DiskFullError("OSError: No space left"), OSError(errno.EDQUOT, "quota exceeded")]
)
def test_a_full_disk_fails_no_trial_and_ends_the_worker_with_what_to_do(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with monkeypatch.context() as full:
        fail_with(error, full)
        with pytest.raises(DiskFullError, match=r"the disk is full .*; the trial was handed back"):
            list(work(workplace, 1))
    assert states(workplace) == ["FAIL", "WAITING"]
    assert str(outcomes(workplace)[0]).startswith(HANDED_BACK)
    assert [event.trial for event in finished(work(workplace, 1))] == [1]


@pytest.mark.usefixtures("quick_trials")
def test_a_study_in_which_all_fails_is_stopped_and_says_why(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(ValueError("no"), monkeypatch)
    with pytest.raises(KidneysegError):
        list(work(workplace, 5))
    stop = read_order(workplace.study.storage, workplace.study.id).stop
    assert stop == "the last 3 trials all failed, the last one: ValueError: no"
    assert list(work(workplace, 5)) == [Stopped(reason=stop)]


POINT = {"learning_rate": 0.02, "beta": 0.25}


@pytest.mark.usefixtures("quick_trials")
def test_the_result_of_the_same_hyperparameters_is_taken_over_and_counts(
    workplace: Workplace,
) -> None:
    for _ in range(2):
        workplace.study.optuna.enqueue_trial(POINT)
    events = list(work(workplace, 2))
    assert TakenOver(trial=1, source=0) in events
    assert sum(isinstance(event, EpochFinished) for event in events) == 2  # of the first alone
    first, second = workplace.study.optuna.trials
    assert second.state == TrialState.COMPLETE
    assert second.value == first.value
    assert second.intermediate_values == first.intermediate_values
    assert second.user_attrs[TAKEN_OVER] == 0


@pytest.fixture
def beside_a_twin(workplace: Workplace) -> Iterator[tuple[optuna.Trial, Future[list[Event]]]]:
    """A running trial, and what a worker does that draws its point again and again."""
    study = workplace.study
    study.optuna.enqueue_trial(POINT)
    theirs = study.optuna.ask()
    study.definition.draw(theirs)
    assert find_twin(study, theirs) is None
    for _ in range(5):
        study.optuna.enqueue_trial(POINT)
    with ThreadPoolExecutor(1) as thread:
        working = thread.submit(lambda: list(work(workplace, 2)))
        try:
            deadline = time.monotonic() + 60
            while states(workplace)[:5] != ["RUNNING", "FAIL", "FAIL", "FAIL", "RUNNING"]:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield theirs, working
        finally:
            workplace.stopping.set()


@pytest.mark.usefixtures("quick_trials")
def test_of_a_running_twin_another_point_is_drawn_and_after_three_it_is_waited_for(
    workplace: Workplace, beside_a_twin: tuple[optuna.Trial, Future[list[Event]]]
) -> None:
    study, (theirs, working) = workplace.study, beside_a_twin
    surplus = "surplus: the same as trial 0, which is not over"
    assert outcomes(workplace)[1:4] == [surplus] * 3
    study.optuna.tell(theirs, 0.5)
    (told,) = finished(iter(working.result(60)))
    assert (told.trial, told.state) == (4, "COMPLETE")
    assert study.optuna.trials[4].user_attrs[TAKEN_OVER] == 0
    assert study.optuna.trials[4].value == 0.5


@pytest.mark.usefixtures("quick_trials")
def test_a_worker_that_waits_for_a_twin_can_be_stopped(
    workplace: Workplace, beside_a_twin: tuple[optuna.Trial, Future[list[Event]]]
) -> None:
    workplace.stopping.set()
    assert beside_a_twin[1].result(60) == []
    assert outcomes(workplace)[4] == "handed back: its worker was asked to stop"


@pytest.mark.usefixtures("quick_trials")
def test_a_dead_workers_trial_is_taken_up_before_any_new_one(
    workplace: Workplace,
    begin_trial: Callable[..., optuna.Trial],
    dead_worker: WorkerIdentity,
) -> None:
    begin_trial(workplace.study, worker=str(dead_worker))
    (ended,) = finished(work(workplace, 1))
    assert (ended.trial, states(workplace)) == (1, ["FAIL", "COMPLETE"])
    assert workplace.study.optuna.trials[1].user_attrs[ATTEMPT] == 2


def test_a_study_with_a_pruner_ends_with_exactly_n_too(
    storage: Storage, build_workplace: BuildWorkplace, build_plan: Callable[..., StudyPlan]
) -> None:
    plan = build_plan(pruner={"name": "median", "n_startup_trials": 1, "n_warmup_epochs": 1})
    workplace = build_workplace(storage, plan)
    assert len(finished(work(workplace, 4))) == 4
    assert set(states(workplace)) <= {"COMPLETE", "PRUNED"}


@pytest.mark.usefixtures("quick_trials")
def test_a_worker_asked_for_fewer_trials_throws_nothing_away_that_others_asked_for(
    workplace: Workplace,
) -> None:
    study = workplace.study
    study.ask_for(10)
    running = [study.optuna.ask() for _ in range(4)]
    for trial in running:
        study.definition.draw(trial)
    study.optuna.tell(running[0], 0.5)
    hand_back(study, running[3]._trial_id)
    list(work(workplace, 2))  # the trial in line is number 4, three count before it
    last = study.optuna.trials[-1]
    assert (last.number, last.state) == (4, TrialState.COMPLETE)
    assert last.params == running[3].params
