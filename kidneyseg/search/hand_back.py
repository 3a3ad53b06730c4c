"""Ending trials, and giving back those that somebody else shall go on with.

A trial that is given back ends as failed, which fences whoever still holds it, and a copy of its
hyper-parameters is put in line, marked with the numbers that they had before (`lineage.py`).
Between these two steps, and where a worker dies there, the trial counts in the budget
(`budget.py`), and whoever looks next puts the missing copy in line.
"""

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from kidneyseg.search.budget import FAILED, HANDED_BACK, OUTCOME
from kidneyseg.search.lineage import LINEAGE, WENT_ON_AFTER, lineage
from kidneyseg.search.places import FIXED
from kidneyseg.search.samplers import start_point
from kidneyseg.search.studies import Study

MAX_ATTEMPTS = 3  # of a trial whose worker or process died; a hand-back does not count
ATTEMPT = "attempt"  # trial attribute: how often it was begun since its last epoch, from 1


def hand_back(study: Study, trial_id: int) -> bool:
    """Give a running trial back, at the same attempt. False when it is finished already."""
    trial = study.storage.optuna.get_trial(trial_id)
    attempt = trial.user_attrs.get(ATTEMPT, 1)
    return _give_back(study, trial, f"{HANDED_BACK}: its worker was asked to stop", attempt)


def reap_trial(study: Study, trial_id: int, died: str = "its worker died") -> bool:
    """End a dead worker's trial; its hyper-parameters are tried again.

    At most three times in a row without an epoch more. False when it is finished already: another
    was faster.
    """
    trial = study.storage.optuna.get_trial(trial_id)
    attempt = trial.user_attrs.get(ATTEMPT, 1)
    if (trial.last_step or 0) > trial.user_attrs.get(WENT_ON_AFTER, 0):
        attempt = 0  # it got on: the next attempt is a first one
    if attempt >= MAX_ATTEMPTS:
        return end_trial(study, trial_id, f"{FAILED}: {died}, {attempt} times")
    return _give_back(study, trial, f"{HANDED_BACK}: {died}", attempt + 1)


def put_in_line(study: Study, number: int) -> None:
    """Put the missing copy of a trial that was handed back in line.

    It is missing where a worker died between ending the trial and copying it. Two workers that
    copy the same trial at once do no harm: the second copy is beyond the budget (`budget.py`).
    """
    storage = study.storage.optuna
    trial = storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study.id, number))
    _copy(study, trial, trial.user_attrs.get(ATTEMPT, 1))


def end_trial(study: Study, trial_id: int, outcome: str) -> bool:
    """End a trial as failed, with the reason for people. False when it is finished already."""
    storage = study.storage.optuna
    try:
        storage.set_trial_user_attr(trial_id, OUTCOME, outcome)
        storage.set_trial_state_values(trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False
    return True


def _give_back(study: Study, trial: FrozenTrial, outcome: str, attempt: int) -> bool:
    if not _hyperparameters(study, trial):
        return end_trial(study, trial._trial_id, "surplus: it was given back before it began")
    if not end_trial(study, trial._trial_id, outcome):
        return False
    _copy(study, trial, attempt)
    return True


def _copy(study: Study, trial: FrozenTrial, attempt: int) -> None:
    kept = {ATTEMPT: attempt, LINEAGE: [*lineage(trial), trial.number]}
    study.optuna.enqueue_trial(_hyperparameters(study, trial), user_attrs=kept)


def _hyperparameters(study: Study, trial: FrozenTrial) -> dict[str, object]:
    """Those that are drawn, and those that would have been: a start point's, or a lineage's."""
    point = start_point(study.definition, study.storage, study.optuna, trial)
    return {**point, **trial.system_attrs.get(FIXED, {}), **trial.params}
