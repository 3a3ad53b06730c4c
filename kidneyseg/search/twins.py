"""Hyper-parameters that a study has tried already: not trained twice."""

from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from kidneyseg.search.lineage import lineage
from kidneyseg.search.objective import BEST_DICE, BEST_EPOCH, DICE_OF_CASE
from kidneyseg.search.rank import FIXED
from kidneyseg.search.studies import Study

TAKEN_OVER = "taken over from trial"  # trial attribute: whose result a trial has
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
        return self.trial.state == TrialState.WAITING


def find_twin(study: Study, trial: optuna.Trial) -> Twin | None:
    """Another trial with the hyper-parameters of this one: finished, or else running or in line.

    One whose work this trial goes on with is none.
    """
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.WAITING)
    others = study.optuna.get_trials(deepcopy=False, states=states)
    mine = {trial.number, *lineage(trial)}
    same = [
        other
        for other in others
        if other.number not in mine
        and {**other.system_attrs.get(FIXED, {}), **other.params} == trial.params
        and (other.state != TrialState.RUNNING or other.number < trial.number)
        and (other.state != TrialState.WAITING or lineage(other))
    ]
    finished = [other for other in same if other.state.is_finished()]
    chosen = next(iter(finished or same), None)
    return None if chosen is None else Twin(trial=chosen)


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
