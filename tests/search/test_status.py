"""How far a study is, against one made by hand and against Optuna's own listing."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event, insert

from kidneyseg.errors import StorageLostError, StudyError
from kidneyseg.search.budget import HANDED_BACK, OUTCOME, SURPLUS
from kidneyseg.search.identity import WorkerIdentity
from kidneyseg.search.lineage import LINEAGE, TAKEN_OVER, WENT_ON_AFTER
from kidneyseg.search.orders import ask_for, ask_to_stop
from kidneyseg.search.status import find_study_id, read_status
from kidneyseg.search.status_query import RECENT
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.study_status import StudyStatus
from kidneyseg.search.tables import epochs, leases, workers

BEGIN = datetime(2026, 1, 2, 3, 0, tzinfo=UTC).replace(tzinfo=None)
SOMEBODY = WorkerIdentity(host="gpu-box", machine="m", pid=4711, started=1.0)
NEIGHBOUR = WorkerIdentity(host="gpu-box", machine="m", pid=4711, started=1.0, place=2)
DEAD = WorkerIdentity(host="old-box", machine="n", pid=17, started=2.0)
SPACE = {
    "rate": FloatDistribution(0, 1),
    "batch_size": IntDistribution(1, 64),
    "activation": CategoricalDistribution(["relu", "prelu"]),
}


def trial(
    state: TrialState,
    value: float | None = None,
    *,
    minutes: float = 0,
    begin: datetime = BEGIN,
    curve: tuple[float, ...] = (),
    attributes: dict[str, Any] | None = None,
) -> FrozenTrial:
    """A trial as Optuna keeps it; a finished one took so many minutes."""
    began = None if state == TrialState.WAITING else begin
    drawn = {"rate": value, "batch_size": 8, "activation": "prelu"} if value is not None else {}
    return FrozenTrial(
        number=0,
        trial_id=0,
        state=state,
        value=value,
        datetime_start=began,
        datetime_complete=begin + timedelta(minutes=minutes) if state.is_finished() else None,
        params=drawn,
        distributions=SPACE if drawn else {},
        user_attrs=attributes or {},
        system_attrs={},
        intermediate_values=dict(enumerate(curve, start=1)),
    )


def ended(outcome: str, minutes: float = 0, curve: tuple[float, ...] = ()) -> FrozenTrial:
    told = {OUTCOME: outcome}
    return trial(TrialState.FAIL, minutes=minutes, curve=curve, attributes=told)


TRIALS = (
    trial(TrialState.COMPLETE, 0.5, minutes=30, curve=(0.4, 0.5)),
    trial(TrialState.COMPLETE, 0.75, minutes=60, curve=(0.4, 0.75, 0.7)),
    trial(TrialState.COMPLETE, 0.75, minutes=60, curve=(0.75,)),
    trial(TrialState.PRUNED, 0.9, minutes=15, curve=(0.9,)),
    ended(HANDED_BACK, minutes=15, curve=(0.1,)),
    ended("handed back: its worker died"),
    ended(SURPLUS),
    ended("failed: ValueError: handed back nothing"),
    trial(TrialState.FAIL),
    trial(TrialState.RUNNING, curve=(0.2, 0.3)),
    trial(TrialState.RUNNING),
    trial(TrialState.WAITING, attributes={LINEAGE: [4]}),
    trial(TrialState.WAITING, attributes={LINEAGE: [4]}),  # copied twice
)


@pytest.fixture
def study(either_storage: Storage) -> optuna.Study:
    """The trials above, another study beside them, and a lease on the first running trial."""
    storage = either_storage.optuna
    other = optuna.create_study(storage=storage, study_name="other", direction="maximize")
    other.add_trial(trial(TrialState.COMPLETE, 1.0, minutes=600, curve=(1.0, 1.0)))
    study = optuna.create_study(storage=storage, study_name="tiny", direction="maximize")
    ask_for(either_storage, study._study_id, 50)
    for each in TRIALS:
        study.add_trial(each)
    hold(either_storage, study, 9, SOMEBODY)
    join(either_storage, other, DEAD)
    return study


def hold(storage: Storage, study: optuna.Study, number: int, worker: WorkerIdentity) -> None:
    row = {"trial_id": study.trials[number]._trial_id, "worker": str(worker), "beat": 3}
    storage.change(insert(leases).values(row))


def join(
    storage: Storage,
    study: optuna.Study,
    worker: WorkerIdentity,
    *,
    hours: float = 1,
    seen_seconds_ago: float = 20,
) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    row = {
        "study_id": study._study_id,
        "worker": str(worker),
        "device": "cuda:0",
        "since": now - timedelta(hours=hours),
        "seen": now - timedelta(seconds=seen_seconds_ago),
    }
    storage.change(insert(workers).values(row))


def time_epochs(storage: Storage, study: optuna.Study, number: int, *seconds: float) -> None:
    losses = {column.name: 0.5 for column in epochs.c if column.name not in ("trial_id", "epoch")}
    rows = [
        {**losses, "trial_id": study.trials[number]._trial_id, "epoch": n, "seconds": each}
        for n, each in enumerate(seconds, start=1)
    ]
    storage.change(insert(epochs).values([{**row, "memory_bytes": 2**33} for row in rows]))


@pytest.mark.usefixtures("study")
def test_trials_are_counted_by_state(either_storage: Storage) -> None:
    status = read_status(either_storage, "tiny")
    assert status.states == {
        "complete": 3,
        "pruned": 1,
        "running": 2,
        "waiting": 2 + 1,  # one that was handed back is not in line again yet
        "failed": 2,
    }
    assert (status.study, status.n_trials, status.finished) == ("tiny", 50, 4)
    assert status.handed_back == 3


@pytest.mark.usefixtures("study")
def test_the_best_is_the_first_complete_trial_of_the_highest_value(
    either_storage: Storage,
) -> None:
    best = read_status(either_storage, "tiny").best
    assert best is not None
    drawn = {"rate": 0.75, "batch_size": 8, "activation": "prelu"}
    assert (best.number, best.value, best.params) == (1, 0.75, drawn)


def test_infinity_is_not_the_best(either_storage: Storage) -> None:
    study = optuna.create_study(
        storage=either_storage.optuna, study_name="tiny", direction="maximize"
    )
    for value in (float("inf"), 0.5):
        study.add_trial(optuna.trial.create_trial(value=value))
    best = read_status(either_storage, "tiny").best
    assert best is not None
    assert (best.number, best.value, best.params) == (1, 0.5, {})


def test_running_trials_tell_their_last_epoch_pace_and_worker(
    either_storage: Storage, study: optuna.Study
) -> None:
    time_epochs(either_storage, study, 9, 30.0, 40.0)
    first, second = read_status(either_storage, "tiny").running
    assert (first.trial, first.epoch, first.dice, first.worker) == (9, 2, 0.3, "gpu-box 4711")
    assert first.seconds_per_epoch == 35.0
    assert (second.trial, second.epoch, second.dice, second.worker) == (10, 0, None, "")
    assert second.seconds_per_epoch is None


def test_workers_are_alive_or_gone_by_when_they_were_seen(
    either_storage: Storage, study: optuna.Study
) -> None:
    join(either_storage, study, SOMEBODY, seen_seconds_ago=60)
    join(either_storage, study, NEIGHBOUR)
    join(either_storage, study, DEAD, seen_seconds_ago=600)
    hold(either_storage, study, 10, DEAD)
    status = read_status(either_storage, "tiny")
    told = [(w.worker, w.device, w.alive, w.trial, w.epoch, w.dice) for w in status.workers]
    assert told == [
        ("gpu-box 4711", "cuda:0", True, 9, 2, 0.3),
        ("gpu-box 4711/2", "cuda:0", True, None, 0, None),
        ("old-box 17", "cuda:0", False, 10, 0, None),
    ]
    assert status.workers[2].seen_seconds_ago == pytest.approx(600, abs=5)
    assert [trial.trial for trial in status.held] == [9]


def test_epochs_and_hours_are_those_of_this_study(
    either_storage: Storage, study: optuna.Study
) -> None:
    status = read_status(either_storage, "tiny")
    assert status.epochs == 2 + 3 + 1 + 1 + 1 + 2
    assert status.hours == pytest.approx(165 / 60)
    # Its hours are those of its epochs, at most those until it ended; so are a running one's
    # that nobody holds.
    time_epochs(either_storage, study, 4, 360.0)
    time_epochs(either_storage, study, 5, 360.0)  # ended when it began
    time_epochs(either_storage, study, 10, 720.0)
    assert read_status(either_storage, "tiny").hours == pytest.approx(165 / 60 + 0.1 + 0.2)


def test_an_epoch_is_counted_once_however_often_its_trial_goes_on(either_storage: Storage) -> None:
    study = optuna.create_study(storage=either_storage.optuna, study_name="tiny")
    study.add_trial(ended(HANDED_BACK, minutes=15, curve=(0.1, 0.2)))
    assert read_status(either_storage, "tiny").epochs == 2  # nobody went on yet
    on_1 = {LINEAGE: [0], WENT_ON_AFTER: 2}
    study.add_trial(trial(TrialState.RUNNING, attributes=on_1))  # tells them in a moment
    assert read_status(either_storage, "tiny").epochs == 2
    handed_on = {**on_1, OUTCOME: HANDED_BACK}
    study.add_trial(trial(TrialState.FAIL, curve=(0.1, 0.2, 0.3), attributes=handed_on))
    on_2 = {LINEAGE: [0, 2], WENT_ON_AFTER: 3}
    study.add_trial(trial(TrialState.COMPLETE, 0.4, curve=(0.1, 0.2, 0.3, 0.4), attributes=on_2))
    assert read_status(either_storage, "tiny").epochs == 4


def test_an_epochs_time_is_counted_once_however_often_its_trial_goes_on(
    either_storage: Storage,
) -> None:
    study = optuna.create_study(storage=either_storage.optuna, study_name="tiny")
    study.add_trial(ended(HANDED_BACK, minutes=15, curve=(0.1, 0.2)))
    on = {LINEAGE: [0], WENT_ON_AFTER: 2}
    study.add_trial(trial(TrialState.RUNNING, curve=(0.1, 0.2, 0.3), attributes=on))
    time_epochs(either_storage, study, 0, 60.0, 60.0)
    time_epochs(either_storage, study, 1, 60.0, 60.0, 180.0)  # two of them copied; nobody holds it
    assert read_status(either_storage, "tiny").hours == pytest.approx(5 / 60)


def test_a_trial_that_took_a_result_over_trained_nothing(either_storage: Storage) -> None:
    study = optuna.create_study(storage=either_storage.optuna, study_name="tiny")
    study.add_trial(trial(TrialState.COMPLETE, 0.5, minutes=60, curve=(0.4, 0.5, 0.5, 0.5)))
    study.add_trial(trial(TrialState.PRUNED, 0.4, minutes=15, curve=(0.4,)))
    before = read_status(either_storage, "tiny")
    assert (before.epochs, before.saved_epochs, before.hours) == (5, 3, 1.25)
    for state in (TrialState.COMPLETE, TrialState.PRUNED):
        copy = trial(state, 0.5, minutes=60, curve=(0.5, 0.5), attributes={TAKEN_OVER: 0})
        study.add_trial(copy)
    after = read_status(either_storage, "tiny")
    assert (after.states["complete"], after.states["pruned"]) == (2, 2)
    assert (after.epochs, after.saved_epochs, after.hours) == (5, 3, 1.25)


def test_a_running_trial_s_hours_go_on_while_its_worker_lives(either_storage: Storage) -> None:
    study = optuna.create_study(storage=either_storage.optuna, study_name="tiny")
    begin = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=2)
    study.add_trial(trial(TrialState.RUNNING, begin=begin))
    hold(either_storage, study, 0, SOMEBODY)
    time_epochs(either_storage, study, 0, 3600.0)
    assert read_status(either_storage, "tiny").hours == pytest.approx(1)
    join(either_storage, study, SOMEBODY)
    assert read_status(either_storage, "tiny").hours == pytest.approx(2, abs=0.01)


@pytest.mark.usefixtures("study")
def test_pruning_saved_what_the_pruned_ones_lack_to_the_mean_complete_one(
    either_storage: Storage,
) -> None:
    status = read_status(either_storage, "tiny")
    assert status.saved_epochs == (2 + 3 + 1) / 3 - 1
    assert status.saved_hours == pytest.approx((30 + 60 + 60) / 3 / 60 - 15 / 60)


def search_of(
    storage: Storage, n_finished: int, n_trials: int, minutes_apart: float
) -> optuna.Study:
    """A study whose last trial was finished just now."""
    study = optuna.create_study(storage=storage.optuna, study_name="tiny", direction="maximize")
    now = datetime.now(UTC).replace(tzinfo=None)
    for n in range(n_finished):
        end = now - timedelta(minutes=minutes_apart * (n_finished - 1 - n))
        study.add_trial(trial(TrialState.COMPLETE, 0.5, begin=end))
    ask_for(storage, study._study_id, n_trials)
    return study


@pytest.mark.parametrize(
    ("finished", "asked_for", "hours_of_worker", "hours_left"),
    [
        (4, 10, 2, 3.0),  # four in the two hours since its workers came: six in three
        (4, 10, 0.26, 0.26 * 6 / 1),  # only the last one was finished since they came
        (4, 4, 2, 0.0),
        (4, 3, 2, 0.0),
        (0, 4, 2, None),
    ],
)
def test_the_time_left_follows_the_pace_of_late(
    finished: int,
    asked_for: int,
    hours_of_worker: float,
    hours_left: float | None,
    storage: Storage,
) -> None:
    study = search_of(storage, finished, asked_for, minutes_apart=30)
    join(storage, study, SOMEBODY, hours=hours_of_worker)
    expected = None if hours_left is None else pytest.approx(hours_left, rel=0.02)
    assert read_status(storage, "tiny").hours_left == expected


def test_the_pace_is_that_of_the_last_50(storage: Storage) -> None:
    study = search_of(storage, RECENT + 10, RECENT + 30, minutes_apart=6)
    join(storage, study, SOMEBODY, hours=1000)
    assert read_status(storage, "tiny").hours_left == pytest.approx(2, rel=0.02)


def test_the_time_left_is_unknown_without_workers_and_where_it_stops(storage: Storage) -> None:
    study = search_of(storage, 4, 10, minutes_apart=30)
    join(storage, study, DEAD, hours=2, seen_seconds_ago=200)
    assert read_status(storage, "tiny").hours_left is None
    join(storage, study, SOMEBODY, hours=2)
    assert read_status(storage, "tiny").hours_left is not None
    ask_to_stop(storage, study._study_id, "enough", now=True)
    status = read_status(storage, "tiny")
    assert (status.hours_left, status.stop, status.stop_now) == (None, "enough", True)


def test_a_study_without_trials_has_no_best(either_storage: Storage) -> None:
    optuna.create_study(storage=either_storage.optuna, study_name="tiny")
    assert read_status(either_storage, "tiny") == StudyStatus(
        study="tiny",
        n_trials=0,
        states=dict.fromkeys(("complete", "pruned", "running", "waiting", "failed"), 0),
        handed_back=0,
        best=None,
        workers=[],
        running=[],
        epochs=0,
        hours=0,
        saved_epochs=0,
        saved_hours=0,
        hours_left=0,
        stop=None,
        stop_now=False,
    )


@pytest.mark.parametrize("seed", range(2))
def test_it_tells_what_optuna_s_own_listing_holds(either_storage: Storage, seed: int) -> None:
    dice = random.Random(seed)
    study = optuna.create_study(
        storage=either_storage.optuna, study_name="tiny", direction="maximize"
    )
    for _ in range(40):
        state = dice.choice(list(TrialState))
        curve = tuple(dice.random() for _ in range(dice.randrange(5)))
        value = dice.random() if state == TrialState.COMPLETE else None
        outcome = {OUTCOME: SURPLUS} if dice.random() < 0.2 else {}
        made = trial(state, value, minutes=dice.randrange(99), curve=curve, attributes=outcome)
        study.add_trial(made)
    status = read_status(either_storage, "tiny")
    counted = [t for t in study.trials if t.state != TrialState.FAIL or OUTCOME not in t.user_attrs]
    names = {"fail": "failed"}
    states = Counter(names.get(t.state.name.lower(), t.state.name.lower()) for t in counted)
    assert {name: n for name, n in status.states.items() if n} == states
    assert status.epochs == sum(len(t.intermediate_values) for t in study.trials)
    hours = sum(t.duration.total_seconds() for t in counted if t.duration is not None) / 3600
    assert status.hours == pytest.approx(hours)
    assert status.best is not None
    best = study.best_trial
    assert status.best.number == best.number
    assert (status.best.value, status.best.params) == (best.value, best.params)
    assert [(t.trial, t.epoch) for t in status.running] == [
        (t.number, len(t.intermediate_values)) for t in counted if t.state == TrialState.RUNNING
    ]


@pytest.mark.usefixtures("study")
def test_all_of_it_is_one_query(either_storage: Storage) -> None:
    statements: list[str] = []

    def listen(*given: Any) -> None:
        statements.append(given[2])

    event.listen(either_storage.engine, "before_cursor_execute", listen)
    read_status(either_storage, "tiny")
    assert [each.split()[0] for each in statements if not each.startswith("BEGIN")] == ["WITH"]


@pytest.mark.usefixtures("study")
def test_a_study_that_is_not_there_is_told_with_those_that_are(either_storage: Storage) -> None:
    for read in (read_status, find_study_id):
        with pytest.raises(StudyError, match=r"study 'tny': not in .*there: .*tiny"):
            read(either_storage, "tny")


@pytest.mark.postgres
def test_a_server_that_is_away_is_told_in_one_line(postgres_database: str) -> None:
    storage = open_storage(postgres_database, patience_seconds=0)
    optuna.create_study(storage=storage.optuna, study_name="tiny")
    storage.engine.dispose()
    event.listen(storage.engine, "do_connect", lambda *given: given[3].update(port=1))
    with pytest.raises(StorageLostError, match="does not answer") as caught:
        read_status(storage, "tiny")
    assert "\n" not in str(caught.value)
