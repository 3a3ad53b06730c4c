"""Whatever ends a trial, the database knows how it ended, and who goes on with it."""

import errno
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from kidneyseg.errors import DiskFullError, StorageLostError, Terminated
from kidneyseg.search import guarded_trial, notes
from kidneyseg.search.budget import HANDED_BACK, OUTCOME
from kidneyseg.search.events import (
    EpochFinished,
    Event,
    Stopped,
    TakenOver,
    TrialFinished,
    TrialStarted,
)
from kidneyseg.search.hand_back import ATTEMPT, end_trial, hand_back
from kidneyseg.search.lineage import TAKEN_OVER
from kidneyseg.search.objective import TrialFailedError, Workplace
from kidneyseg.search.orders import ask_for, ask_to_stop
from kidneyseg.search.patience import Patience
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import Study
from kidneyseg.search.training_process import LimitExceededError, TrialProcessDiedError
from kidneyseg.search.twins import find_twin
from kidneyseg.search.worker import work
from tests.search.troubles import Lost, fail_with
from tests.search.worked import finished, outcomes, states

BuildWorkplace = Callable[..., Workplace]
TrialEvents = Generator[TrialStarted | EpochFinished, None, None]


@pytest.fixture
def workplace(either_storage: Storage, build_workplace: BuildWorkplace) -> Workplace:
    return build_workplace(either_storage)


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
def test_a_trial_taken_over_meanwhile_does_not_stop_the_worker(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it notices at its next report, or dies of something else before."""
    run = vars(guarded_trial)["run_trial"]

    def taken_over(workplace: Workplace, trial: optuna.Trial) -> TrialEvents:
        if trial.number < 2:
            study = workplace.study
            end_trial(study, trial._trial_id, "reaped")
        if trial.number == 1:
            raise RuntimeError("out of memory")
        yield from run(workplace, trial)

    monkeypatch.setattr(guarded_trial, "run_trial", taken_over)
    events = finished(work(workplace, 1))
    assert [event.state for event in events] == ["FAIL", "FAIL", "COMPLETE"]
    assert "taken over by another worker" in events[0].reason
    assert outcomes(workplace)[:2] == ["reaped", "reaped"]


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
            monkeypatch.setattr(notes, "refresh_note", lambda *_, **_more: pytest.fail("asked"))
        storage.patience.hurry()

    monkeypatch.setattr(guarded_trial, "hand_back", hand_back_last)
    fail_with(KeyboardInterrupt(), monkeypatch)
    with pytest.raises((KeyboardInterrupt, StorageLostError)) as caught:
        list(work(workplace, 2))
    lost.left = 0
    assert caught.type is KeyboardInterrupt
    assert states(workplace) == ["FAIL", "WAITING"]


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
def test_a_study_stopped_at_once_has_its_running_trial_handed_back(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = workplace.study
    hurried = replace(workplace, grace_seconds=0.08)  # a hundred beats a second
    run = vars(guarded_trial)["run_trial"]

    def endless(workplace: Workplace, trial: optuna.Trial) -> TrialEvents:
        yield next(run(workplace, trial))
        yield from cycle_of_nothing()

    monkeypatch.setattr(guarded_trial, "run_trial", endless)
    events = work(hurried, 2)
    next(events)
    ask_to_stop(study.storage, study.id, "by hand", now=True)
    assert list(events) == [Stopped(reason="by hand")]
    assert states(workplace) == ["FAIL", "WAITING"]
    monkeypatch.setattr(guarded_trial, "run_trial", run)
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
