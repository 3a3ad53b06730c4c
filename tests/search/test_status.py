"""How far a study is, against one made by hand."""

from datetime import UTC, datetime, timedelta

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import insert

from kidneyseg.errors import StudyError
from kidneyseg.search.leases import HANDED_BACK, OUTCOME, SURPLUS, WorkerIdentity
from kidneyseg.search.status import find_study_id, read_status
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import BUDGET
from kidneyseg.search.tables import leases

BEGIN = datetime(2026, 1, 2, 3, 0, tzinfo=UTC).replace(tzinfo=None)
SOMEBODY = WorkerIdentity(host="gpu-box", machine="m", pid=4711, started=1.0)


def trial(
    state: TrialState,
    value: float | None = None,
    *,
    minutes: float = 0,
    curve: tuple[float, ...] = (),
    outcome: str | None = None,
) -> FrozenTrial:
    """A trial as Optuna keeps it; a finished one took so many minutes."""
    began = None if state == TrialState.WAITING else BEGIN
    return FrozenTrial(
        number=0,
        trial_id=0,
        state=state,
        value=value,
        datetime_start=began,
        datetime_complete=BEGIN + timedelta(minutes=minutes) if state.is_finished() else None,
        params={"beta": value} if value is not None else {},
        distributions={"beta": FloatDistribution(0, 1)} if value is not None else {},
        user_attrs={OUTCOME: outcome} if outcome is not None else {},
        system_attrs={},
        intermediate_values=dict(enumerate(curve, start=1)),
    )


TRIALS = (
    trial(TrialState.COMPLETE, 0.5, minutes=30, curve=(0.4, 0.5)),
    trial(TrialState.COMPLETE, 0.75, minutes=60, curve=(0.4, 0.75, 0.7)),
    trial(TrialState.COMPLETE, 0.75, minutes=60),
    trial(TrialState.PRUNED, 0.9, minutes=15, curve=(0.9,)),
    trial(TrialState.FAIL, minutes=15, curve=(0.1,), outcome=HANDED_BACK),
    trial(TrialState.FAIL, outcome="handed back: its worker died"),
    trial(TrialState.FAIL, outcome=SURPLUS),
    trial(TrialState.FAIL, outcome="failed: ValueError: handed back nothing"),
    trial(TrialState.FAIL),
    trial(TrialState.RUNNING, curve=(0.2, 0.3)),
    trial(TrialState.RUNNING),
    trial(TrialState.WAITING),
)


@pytest.fixture
def study(either_storage: Storage) -> optuna.Study:
    """The trials above, another study beside them, and a lease on the first running trial."""
    storage = either_storage.optuna
    other = optuna.create_study(storage=storage, study_name="other", direction="maximize")
    other.add_trial(trial(TrialState.COMPLETE, 1.0, minutes=600, curve=(1.0, 1.0)))
    study = optuna.create_study(storage=storage, study_name="tiny", direction="maximize")
    study.set_user_attr(BUDGET, 50)
    for each in TRIALS:
        study.add_trial(each)
    row = {"trial_id": study.trials[9]._trial_id, "worker": str(SOMEBODY), "beat": 3}
    with either_storage.engine.begin() as connection:
        connection.execute(insert(leases).values(row))
    return study


@pytest.mark.usefixtures("study")
def test_trials_are_counted_by_state(either_storage: Storage) -> None:
    status = read_status(either_storage, "tiny")
    assert status.states == {
        "complete": 3,
        "pruned": 1,
        "running": 2,
        "waiting": 1,
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
    assert (best.number, best.value, best.params) == (1, 0.75, {"beta": 0.75})


@pytest.mark.usefixtures("study")
def test_running_trials_tell_their_last_epoch_and_worker(either_storage: Storage) -> None:
    first, second = read_status(either_storage, "tiny").workers
    assert (first.trial, first.epoch, first.dice, first.worker) == (9, 2, 0.3, "gpu-box 4711")
    assert (second.trial, second.epoch, second.dice, second.worker) == (10, 0, None, "")


@pytest.mark.usefixtures("study")
def test_epochs_and_hours_are_those_of_this_study(either_storage: Storage) -> None:
    status = read_status(either_storage, "tiny")
    # The handed-back trial's epoch counts where it goes on.
    assert status.epochs == 2 + 3 + 1 + 2
    assert status.hours == pytest.approx(165 / 60)


def test_a_study_without_trials_has_no_best(either_storage: Storage) -> None:
    optuna.create_study(storage=either_storage.optuna, study_name="tiny")
    status = read_status(either_storage, "tiny")
    assert set(status.states.values()) == {0}
    assert (status.best, status.workers, status.epochs, status.hours) == (None, [], 0, 0)
    assert (status.n_trials, status.finished) == (0, 0)


@pytest.mark.usefixtures("study")
def test_a_study_that_is_not_there_is_told_with_those_that_are(either_storage: Storage) -> None:
    for read in (read_status, find_study_id):
        with pytest.raises(StudyError, match=r"study 'tny': not in .*there: .*tiny"):
            read(either_storage, "tny")
