"""Which trials are one and the same training, begun again by another worker."""

import optuna
from optuna.trial import FrozenTrial

LINEAGE = "goes on with trials"  # trial attribute: numbers that these hyper-parameters had before
TAKEN_OVER = "taken over from trial"  # trial attribute: whose result a trial has
WENT_ON_AFTER = "went on after epoch"  # trial attribute: epochs trained under an earlier number


def lineage(trial: optuna.Trial | FrozenTrial) -> tuple[int, ...]:
    """The numbers that the hyper-parameters of a trial had before, oldest first.

    Every number has files of its own: a worker that stood still and wakes writes into none but its
    own trial's, while the trial that took over has copies.
    """
    return tuple(trial.user_attrs.get(LINEAGE, ()))
