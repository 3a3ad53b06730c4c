"""Hyper-parameters that a study has tried already: not trained twice.

Every trial claims its point, once it is drawn; of two that drew the same at the same instant one
gets it, and the other sees whose it is.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from kidneyseg.search.budget import HANDED_BACK, OUTCOME
from kidneyseg.search.lineage import LINEAGE, TAKEN_OVER, lineage
from kidneyseg.search.objective import BEST_DICE, BEST_EPOCH, DICE_OF_CASE
from kidneyseg.search.studies import Study
from kidneyseg.search.tables import points, trial_user_attributes, trials

COPIED = (BEST_EPOCH, BEST_DICE, DICE_OF_CASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """A trial with the same hyper-parameters as another."""

    trial: FrozenTrial

    @property
    def is_finished(self) -> bool:
        """Whether it has a result to be taken over."""
        return self.trial.state in (TrialState.COMPLETE, TrialState.PRUNED)

    @property
    def is_in_line(self) -> bool:
        """Whether it was handed back, and waits for a worker to go on with it."""
        return self.trial.state in (TrialState.WAITING, TrialState.FAIL)


def find_twin(study: Study, trial: optuna.Trial) -> Twin | None:
    """The trial that has this one's hyper-parameters; None where they are this one's from now on.

    They are free where nobody has them, where whoever had them failed, and where this trial goes
    on with whoever had them. A look costs a few small queries, however many trials there are.
    """
    storage, mine = study.storage, trial._trial_id
    here = (points.c.study_id == study.id, points.c.point == digest(trial.params))
    while True:
        owner = storage.read(select(points.c.trial_id).where(*here)).scalar()
        if owner == mine:
            return None
        if owner is None:
            row = {"study_id": study.id, "point": digest(trial.params), "trial_id": mine}
            try:
                storage.change(insert(points).values(row))
            except IntegrityError:
                continue  # another was faster, or the answer to this call was lost
            return None
        twin = _follow(study, owner, {trial.number, *lineage(trial)})
        if twin is not None:
            return Twin(trial=twin)
        change = update(points).where(*here, points.c.trial_id == owner)
        storage.change(change.values(trial_id=mine))  # the next look tells who was faster


def digest(hyperparameters: Mapping[str, Any]) -> str:
    """SHA-256 of hyper-parameters: the same for the same values, whole numbers or not."""
    plain = {
        name: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for name, value in hyperparameters.items()
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _follow(study: Study, trial_id: int, own: set[int]) -> FrozenTrial | None:
    """Whoever goes on with a trial now, or the trial itself; None where it failed, or is one's own.

    A trial that was handed back and is not in line again yet is as good as in line.
    """
    trial = study.storage.optuna.get_trial(trial_id)
    while trial.number not in own:
        handed_back = str(trial.user_attrs.get(OUTCOME, "")).startswith(HANDED_BACK)
        if trial.state != TrialState.FAIL:
            return trial
        if not handed_back:
            return None
        copy = _copy_of(study, trial)
        if copy is None:
            return trial
        trial = study.storage.optuna.get_trial(copy)
    return None


def _copy_of(study: Study, trial: FrozenTrial) -> int | None:
    """The id of the trial that goes on with one that was handed back: of two copies the first."""
    wanted = json.dumps([*lineage(trial), trial.number])
    query = (
        select(trials.c.trial_id)
        .join(trial_user_attributes, trial_user_attributes.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study.id, trial_user_attributes.c.key == LINEAGE)
        .where(trial_user_attributes.c.value_json == wanted)
        .order_by(trials.c.number)
        .limit(1)
    )
    found: int | None = study.storage.read(query).scalar()
    return found


def take_over(study: Study, trial: optuna.Trial, twin: FrozenTrial) -> int:
    """End a trial with the curve and the result of its finished twin; return whose they are."""
    source: int = twin.user_attrs.get(TAKEN_OVER, twin.number)
    for epoch, dice in sorted(twin.intermediate_values.items()):
        trial.report(dice, epoch)
    trial.set_user_attr(TAKEN_OVER, source)
    for key in COPIED:
        if key in twin.user_attrs:
            trial.set_user_attr(key, twin.user_attrs[key])
    values: Any = twin.values if twin.state == TrialState.COMPLETE else None
    study.optuna.tell(trial, values, twin.state)
    return source
