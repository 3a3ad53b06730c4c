"""How far a study is: read with a few queries of our own, however many trials there are."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, String, and_, cast, func, select

from kidneyseg.errors import StudyError
from kidneyseg.search.budget import State
from kidneyseg.search.leases import OUTCOME, SURPLUS, WorkerIdentity
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import BUDGET, study_names
from kidneyseg.search.tables import (
    leases,
    studies,
    study_user_attributes,
    trial_reports,
    trial_user_attributes,
    trial_values,
    trials,
)

STATE = cast(trials.c.state, String)


@dataclass(frozen=True, slots=True, kw_only=True)
class BestTrial:
    """The complete trial with the highest validation Dice."""

    number: int
    value: float
    params: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTrial:
    """A trial that somebody trains."""

    trial: int
    epoch: int  # finished ones
    dice: float | None  # of the last finished epoch
    worker: str  # host and process number; empty when unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStatus:
    """What `status` shows."""

    study: str
    n_trials: int  # asked for
    states: dict[str, int]  # complete, pruned, running, waiting, failed
    handed_back: int  # trials ended and taken up again under another number
    best: BestTrial | None
    workers: list[RunningTrial]
    epochs: int  # trained; those of a handed-back trial are counted where it goes on
    hours: float  # spent on trials that are over, over all workers

    @property
    def finished(self) -> int:
        """Complete and pruned trials: what the budget counts."""
        return self.states["complete"] + self.states["pruned"]


def read_status(storage: Storage, study: str) -> StudyStatus:
    """Read a study's status. Raises StudyError where there is no such study."""
    study_id = find_study_id(storage, study)
    with storage.engine.connect() as connection:
        of_study = trials.c.study_id == study_id
        by_state = (
            select(STATE.label("state"), func.count().label("n")).where(of_study).group_by(STATE)
        )
        states = {row.state: row.n for row in connection.execute(by_state)}
        handed_back = len(connection.scalars(_set_aside(study_id)).all())
        best = connection.execute(_best(study_id)).first()
        running = connection.execute(_running(study_id)).all()
        times = connection.execute(
            select(trials.c.datetime_start, trials.c.datetime_complete).where(
                of_study, trials.c.trial_id.not_in(_set_aside(study_id))
            )
        ).all()
        epochs = connection.scalar(
            select(func.count())
            .select_from(trial_reports.join(trials, _same(trial_reports)))
            .where(of_study, trials.c.trial_id.not_in(_set_aside(study_id)))
        )
        budget = connection.scalar(
            select(study_user_attributes.c.value_json).where(
                study_user_attributes.c.study_id == study_id,
                study_user_attributes.c.key == BUDGET,
            )
        )
    return StudyStatus(
        study=study,
        n_trials=int(budget or 0),
        states=_name_states(states, handed_back),
        handed_back=handed_back,
        best=_best_trial(storage, best),
        workers=[_running_trial(row) for row in running],
        epochs=epochs or 0,
        hours=sum(_hours(start, end) for start, end in times),
    )


def find_study_id(storage: Storage, study: str) -> int:
    """The number of a study. Raises StudyError that lists the studies there are."""
    query = select(studies.c.study_id).where(studies.c.study_name == study)
    with storage.engine.connect() as connection:
        study_id = connection.scalar(query)
    if study_id is None:
        known = ", ".join(study_names(storage)) or "none"
        raise StudyError(f"study {study!r}: not in {storage.address}; the studies there: {known}")
    return int(study_id)


def _same(table: Any) -> Any:
    return table.c.trial_id == trials.c.trial_id


def _best(study_id: int) -> Any:
    return (
        select(trials.c.trial_id, trials.c.number, trial_values.c.value)
        .join(trial_values, _same(trial_values))
        .where(trials.c.study_id == study_id, STATE == State.COMPLETE)
        .order_by(trial_values.c.value.desc(), trials.c.number)
        .limit(1)
    )


def _running(study_id: int) -> Any:
    """Running trials with their last report and whoever holds the lease."""
    last = (
        select(trial_reports.c.trial_id, func.max(trial_reports.c.step).label("epoch"))
        .group_by(trial_reports.c.trial_id)
        .subquery()
    )
    at_last = and_(
        trial_reports.c.trial_id == last.c.trial_id, trial_reports.c.step == last.c.epoch
    )
    return (
        select(trials.c.number, last.c.epoch, trial_reports.c.intermediate_value, leases.c.worker)
        .outerjoin(last, trials.c.trial_id == last.c.trial_id)
        .outerjoin(trial_reports, at_last)
        .outerjoin(leases, trials.c.trial_id == leases.c.trial_id)
        .where(trials.c.study_id == study_id, STATE == State.RUNNING)
        .order_by(trials.c.number)
    )


def _set_aside(study_id: int) -> Any:
    """Ids of trials that ended without failing: handed back, or beyond the budget."""
    outcome = trial_user_attributes.c.value_json
    return (
        select(trials.c.trial_id)
        .join(trial_user_attributes, _same(trial_user_attributes))
        .where(
            trials.c.study_id == study_id,
            STATE == State.FAIL,
            trial_user_attributes.c.key == OUTCOME,
            outcome.like('"handed back%') | (outcome == json.dumps(SURPLUS)),
        )
    )


def _name_states(states: dict[str, int], set_aside: int) -> dict[str, int]:
    return {
        "complete": states.get(State.COMPLETE, 0),
        "pruned": states.get(State.PRUNED, 0),
        "running": states.get(State.RUNNING, 0),
        "waiting": states.get(State.WAITING, 0),
        "failed": states.get(State.FAIL, 0) - set_aside,
    }


def _best_trial(storage: Storage, row: Row[Any] | None) -> BestTrial | None:
    if row is None:
        return None
    params = storage.optuna.get_trial(row.trial_id).params
    return BestTrial(number=row.number, value=row.value, params=params)


def _running_trial(row: Row[Any]) -> RunningTrial:
    identity = WorkerIdentity.parse(row.worker or "")
    return RunningTrial(
        trial=row.number,
        epoch=row.epoch or 0,
        dice=row.intermediate_value,
        worker=f"{identity.host} {identity.pid}" if identity else "",
    )


def _hours(start: datetime | None, end: datetime | None) -> float:
    if start is None or end is None:
        return 0.0
    return (end.replace(tzinfo=UTC) - start.replace(tzinfo=UTC)).total_seconds() / 3600
