"""Optuna's storage of trials in a SQL database, whose every call outlasts an outage."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from kidneyseg.search.patience import Patience

# Calls that reach the database, by the names that Optuna's cache and studies use.
REPEATED = (
    "_create_new_trial",
    "_get_best_trial_id",
    "_get_trials",
    "_set_trial_param",
    "create_new_study",
    "delete_study",
    "get_all_studies",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_system_attr",
    "set_trial_user_attr",
)


class PatientStorage(RDBStorage):
    """An `RDBStorage` that repeats its calls while the database is away."""

    def __init__(self, url: str, engine_kwargs: dict[str, Any], patience: Patience) -> None:
        self.patience = patience
        super().__init__(url, engine_kwargs, skip_compatibility_check=True)
        for name in REPEATED:
            setattr(self, name, _repeated(getattr(self, name), patience))

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Change a trial's state, once, even where the first answer was lost.

        Raises UpdateFinishedTrialError when somebody else finished the trial.
        """
        tries = 0

        def change() -> bool:
            nonlocal tries
            tries += 1
            return super(PatientStorage, self).set_trial_state_values(trial_id, state, values)

        try:
            return self.patience.outlast(change)
        except UpdateFinishedTrialError:
            if tries > 1 and self._is_told(trial_id, state, values):
                return True
            raise

    def _is_told(self, trial_id: int, state: TrialState, values: Sequence[float] | None) -> bool:
        trial = self.get_trial(trial_id)
        told = None if trial.values is None else list(trial.values)
        return trial.state == state and (values is None or told == list(values))


def _repeated(call: Callable[..., Any], patience: Patience) -> Callable[..., Any]:
    @wraps(call)
    def patient(*args: Any, **kwargs: Any) -> Any:
        return patience.outlast(lambda: call(*args, **kwargs))

    return patient
