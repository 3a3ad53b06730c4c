"""All that a study holds, read once into frozen parts: what the report page is made from.

A handful of queries, however many trials there are.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from pydantic import ValidationError
from sqlalchemy import Row, Select, select

from kidneyseg.provenance import Provenance
from kidneyseg.search.artifacts import find_artifacts
from kidneyseg.search.budget import HANDED_BACK, OUTCOME, STATE, State
from kidneyseg.search.definition import StudyDefinition
from kidneyseg.search.lineage import TAKEN_OVER
from kidneyseg.search.objective import BEST_EPOCH, DICE_OF_CASE
from kidneyseg.search.ranges import Value
from kidneyseg.search.status import read_status
from kidneyseg.search.status_query import SURPLUS, trial_params
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import load_study
from kidneyseg.search.study_status import StudyStatus
from kidneyseg.search.tables import (
    epochs,
    trial_reports,
    trial_user_attributes,
    trial_values,
    trials,
)

PROVENANCE = "provenance"  # trial attribute
ATTRIBUTES = (OUTCOME, TAKEN_OVER, BEST_EPOCH, DICE_OF_CASE, PROVENANCE)

Attributes = Mapping[str, Any]  # of one trial


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One trial, as it is in the database."""

    number: int
    state: State
    value: float | None = None  # validation Dice of the best epoch, of complete trials
    params: dict[str, Value] = field(default_factory=dict)
    curve: dict[int, float] = field(default_factory=dict)  # validation Dice by epoch, in order
    outcome: str = ""  # why it failed, for people
    copy_of: int | None = None  # the trial of the same hyper-parameters whose result it has
    best_epoch: int | None = None
    dice_of_case: dict[str, float] = field(default_factory=dict)  # validation, in the best epoch
    provenance: Provenance | None = None

    @property
    def is_complete(self) -> bool:
        """Whether it ran to its own end and has a value."""
        return self.state == State.COMPLETE and self.value is not None

    @property
    def is_pruned(self) -> bool:
        """Whether it was given up early."""
        return self.state == State.PRUNED

    @property
    def is_failed(self) -> bool:
        """Whether it failed: not handed back, not beyond the budget."""
        return self.state == State.FAIL and not self.outcome.startswith((HANDED_BACK, SURPLUS))

    @property
    def dice(self) -> float | None:
        """The best validation Dice that it came to."""
        return self.value if self.value is not None else max(self.curve.values(), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochLosses:
    """Losses of one epoch, averaged over the slices."""

    epoch: int
    training: float
    validation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """A study with all its trials."""

    name: str
    definition: StudyDefinition
    status: StudyStatus
    trials: tuple[TrialRecord, ...]  # by number
    losses: tuple[EpochLosses, ...] = ()  # of the best trial
    artifacts: tuple[tuple[str, str], ...] = ()  # file name and id, of the best trial

    @property
    def complete(self) -> tuple[TrialRecord, ...]:
        """The complete trials."""
        return tuple(trial for trial in self.trials if trial.is_complete)

    @property
    def pruned(self) -> tuple[TrialRecord, ...]:
        """The pruned trials."""
        return tuple(trial for trial in self.trials if trial.is_pruned)

    @property
    def finished(self) -> tuple[TrialRecord, ...]:
        """Complete and pruned trials: what a budget counts."""
        return tuple(trial for trial in self.trials if trial.is_complete or trial.is_pruned)

    @property
    def best(self) -> TrialRecord | None:
        """The complete trial of highest Dice, of equal ones the first."""
        return max(
            self.complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None
        )


def read_record(storage: Storage, study: str) -> StudyRecord:
    """Read a study. Raises StudyError where there is none of that name, or it is not ours."""
    loaded = load_study(storage, study)
    status = read_status(storage, study)
    rows = storage.read(_trials(loaded.id)).all()
    params, curves, attributes = (
        _params(storage, loaded.id),
        _curves(storage, loaded.id),
        _attributes(storage, loaded.id),
    )
    read = [
        _trial(row, params[row.trial_id], curves[row.trial_id], attributes[row.trial_id])
        for row in rows
    ]
    record = StudyRecord(
        name=study, definition=loaded.definition, status=status, trials=tuple(read)
    )
    if record.best is None:
        return record
    best_id = next(row.trial_id for row in rows if row.number == record.best.number)
    return StudyRecord(
        name=study,
        definition=loaded.definition,
        status=status,
        trials=record.trials,
        losses=_losses(storage, best_id),
        artifacts=tuple(find_artifacts(storage, best_id)),
    )


def _trials(study_id: int) -> Select[Any]:
    return (
        select(trials.c.trial_id, trials.c.number, STATE.label("state"), trial_values.c.value)
        .outerjoin(trial_values, trial_values.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id)
        .order_by(trials.c.number)
    )


def _trial(
    row: Row[Any], params: dict[str, Value], curve: dict[int, float], attributes: Attributes
) -> TrialRecord:
    state = State(row.state)
    return TrialRecord(
        number=row.number,
        state=state,
        value=row.value if state == State.COMPLETE else None,  # a pruned one's is its last report
        params=params,
        curve=curve,
        outcome=str(attributes.get(OUTCOME, "")),
        copy_of=attributes.get(TAKEN_OVER),
        best_epoch=attributes.get(BEST_EPOCH),
        dice_of_case=dict(attributes.get(DICE_OF_CASE, {})),
        provenance=_provenance(attributes.get(PROVENANCE)),
    )


def _provenance(values: Any) -> Provenance | None:
    try:
        return None if values is None else Provenance.model_validate(values)
    except ValidationError:  # of another version of the program
        return None


def _params(storage: Storage, study_id: int) -> dict[int, dict[str, Value]]:
    """Hyper-parameters by trial id, in the order in which they were drawn."""
    query = _of_study(trial_params, study_id).order_by(trial_params.c.param_id)
    found: dict[int, dict[str, Value]] = defaultdict(dict)
    for row in storage.read(query):
        distribution = _distribution(row.distribution_json)
        found[row.trial_id][row.param_name] = distribution.to_external_repr(row.param_value)
    return found


@cache
def _distribution(text: str) -> BaseDistribution:
    """Of many trials' text there are but a few."""
    return json_to_distribution(text)


def _curves(storage: Storage, study_id: int) -> dict[int, dict[int, float]]:
    """Validation Dice by epoch, by trial id."""
    found: dict[int, dict[int, float]] = defaultdict(dict)
    for row in storage.read(_of_study(trial_reports, study_id).order_by(trial_reports.c.step)):
        if row.intermediate_value is not None and math.isfinite(row.intermediate_value):
            found[row.trial_id][row.step] = row.intermediate_value
    return found


def _attributes(storage: Storage, study_id: int) -> dict[int, dict[str, Any]]:
    """What trials say of themselves, by trial id."""
    query = _of_study(trial_user_attributes, study_id)
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for row in storage.read(query.where(trial_user_attributes.c.key.in_(ATTRIBUTES))):
        found[row.trial_id][row.key] = json.loads(row.value_json)
    return found


def _of_study(of_trials: Any, study_id: int) -> Select[Any]:
    return (
        select(of_trials)
        .join(trials, trials.c.trial_id == of_trials.c.trial_id)
        .where(trials.c.study_id == study_id)
    )


def _losses(storage: Storage, trial_id: int) -> tuple[EpochLosses, ...]:
    query = select(epochs).where(epochs.c.trial_id == trial_id).order_by(epochs.c.epoch)
    return tuple(
        EpochLosses(epoch=row.epoch, training=row.training_loss, validation=row.validation_loss)
        for row in storage.read(query)
    )
