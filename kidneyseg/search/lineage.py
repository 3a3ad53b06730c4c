"""Which trials are one and the same training, begun again by another worker."""

import optuna
from optuna.trial import FrozenTrial

LINEAGE = "lineage"  # trial attribute: number of the trial that first had these hyper-parameters


def lineage(trial: optuna.Trial | FrozenTrial) -> int:
    """The number of the trial that first had these hyper-parameters: its files are gone on with."""
    return int(trial.user_attrs.get(LINEAGE, trial.number))
