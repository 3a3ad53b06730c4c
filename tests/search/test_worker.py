"""A worker reaches exactly N, goes on where it was stopped, and says what went wrong."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice

import optuna
import pytest
from optuna.trial import TrialState
from optuna_dashboard import get_note

from kidneyseg.ct.shown_names import ShownNames
from kidneyseg.errors import KidneysegError, StorageLostError, StudyStoppedError, TrainingError
from kidneyseg.search import guarded_trial
from kidneyseg.search.budget import OUTCOME, SURPLUS
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.events import EpochFinished, Stopped, TrialFinished, TrialStarted, Waiting
from kidneyseg.search.hand_back import ATTEMPT, hand_back
from kidneyseg.search.identity import WorkerIdentity
from kidneyseg.search.leases import Heart
from kidneyseg.search.notes import refresh_note
from kidneyseg.search.objective import TrialFailedError, Workplace
from kidneyseg.search.orders import ask_for, ask_to_stop, read_order
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.training_process import TrialProcessDiedError
from kidneyseg.search.worker import CROWD, work
from tests.search.troubles import Lost, fail_with
from tests.search.worked import finished, outcomes, states

BuildWorkplace = Callable[..., Workplace]
TrialEvents = Generator[TrialStarted | EpochFinished, None, None]


@pytest.fixture
def workplace(either_storage: Storage, build_workplace: BuildWorkplace) -> Workplace:
    return build_workplace(either_storage)


@pytest.mark.usefixtures("quick_trials")
def test_a_study_ends_with_exactly_n_trials_and_a_larger_n_goes_on(workplace: Workplace) -> None:
    assert len(finished(work(workplace, 3))) == 3
    assert states(workplace) == ["COMPLETE"] * 3
    assert list(work(workplace, 3)) == []
    assert list(work(workplace, 2)) == []
    assert len(finished(work(workplace, 5))) == 2
    assert states(workplace) == ["COMPLETE"] * 5


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

    monkeypatch.setattr(guarded_trial, "run_trial", pruned)
    assert [event.state for event in finished(work(workplace, 2))] == ["PRUNED", "PRUNED"]


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
def test_the_budget_of_the_study_counts_where_no_number_is_given(workplace: Workplace) -> None:
    study = workplace.study
    assert list(work(workplace)) == []
    study.ask_for(1)
    events = work(workplace)
    next(events)
    study.ask_for(3)  # while it works
    assert len(finished(events)) == 3


@pytest.mark.usefixtures("quick_trials")
def test_where_every_process_dies_the_work_ends_too(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(TrialProcessDiedError("its process was ended by SIGKILL"), monkeypatch)
    with pytest.raises(KidneysegError, match="3 trials in a row failed, the last one: its process"):
        list(work(workplace, 1))
    assert states(workplace) == ["FAIL"] * 9


@pytest.mark.usefixtures("quick_trials")
def test_a_study_that_is_deleted_meanwhile_is_told_in_one_line(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = vars(guarded_trial)["run_trial"]

    def deleted(workplace: Workplace, trial: optuna.Trial) -> TrialEvents:
        study = workplace.study
        optuna.delete_study(study_name=study.name, storage=study.storage.optuna)
        yield from run(workplace, trial)

    monkeypatch.setattr(guarded_trial, "run_trial", deleted)
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
def test_a_study_in_which_all_fails_is_stopped_and_says_why(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(ValueError("no"), monkeypatch)
    with pytest.raises(KidneysegError):
        list(work(workplace, 5))
    stop = read_order(workplace.study.storage, workplace.study.id).stop
    assert stop == "the last 3 trials all failed, the last one: ValueError: no"
    assert list(work(workplace, 5)) == [Stopped(reason=stop)]


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
