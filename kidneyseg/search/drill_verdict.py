"""What must hold of a study after any number of kills: checked from its rows alone."""

from collections import Counter
from collections.abc import Iterator

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select

from kidneyseg.search.budget import FAILED, HANDED_BACK, OUTCOME
from kidneyseg.search.lineage import WENT_ON_AFTER, lineage
from kidneyseg.search.studies import Study
from kidneyseg.search.tables import epochs

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def find_faults(study: Study, n_trials: int) -> list[str]:
    """What is wrong with a study that must hold exactly `n_trials` finished trials."""
    trials = study.optuna.get_trials(deepcopy=False)
    return [
        *_budget_faults(trials, n_trials),
        *_failures(trials),
        *_lineage_faults(trials),
        *_curve_faults(study, trials),
        *_repeated_epochs(trials),
    ]


def _budget_faults(trials: list[FrozenTrial], n_trials: int) -> Iterator[str]:
    finished = sum(trial.state in FINISHED for trial in trials)
    if finished != n_trials:
        yield f"{finished} finished trials; expected exactly {n_trials}"
    for trial in trials:
        if not trial.state.is_finished():
            yield f"trial {trial.number} is still {trial.state.name.lower()}"


def _failures(trials: list[FrozenTrial]) -> Iterator[str]:
    """A trial that was given up: the budget replaces it, and its training is lost all the same."""
    for trial in trials:
        outcome = str(trial.user_attrs.get(OUTCOME, ""))
        if trial.state == TrialState.FAIL and outcome.startswith(FAILED):
            yield f"trial {trial.number} {outcome}"


def _lineage_faults(trials: list[FrozenTrial]) -> Iterator[str]:
    """A training that is finished twice, or that nobody went on with."""
    first = {trial.number: (*lineage(trial), trial.number)[0] for trial in trials}
    twice = Counter(first[trial.number] for trial in trials if trial.state in FINISHED)
    for number, count in twice.items():
        if count > 1:
            yield f"trial {number} was finished {count} times, under several numbers"
    copied = {lineage(trial)[-1] for trial in trials if lineage(trial)}
    for trial in trials:
        given_back = str(trial.user_attrs.get(OUTCOME, "")).startswith(HANDED_BACK)
        given_back &= trial.state == TrialState.FAIL  # else its worker told it first
        if given_back and trial.number not in copied:
            yield f"trial {trial.number} was handed back, and nobody went on with it"


def _curve_faults(study: Study, trials: list[FrozenTrial]) -> Iterator[str]:
    """A curve with a gap, in Optuna's reports or in our own rows."""
    rows = Counter[int]()
    query = select(epochs.c.trial_id, epochs.c.epoch)
    ids = {trial._trial_id for trial in trials}
    for row in study.storage.read(query):
        rows[row.trial_id] += row.trial_id in ids
    for trial in trials:
        if trial.state not in FINISHED:
            continue
        reported = sorted(trial.intermediate_values)
        if reported != list(range(1, len(reported) + 1)):
            yield f"trial {trial.number} has epochs {reported}"
        if rows[trial._trial_id] != len(reported):
            yield f"trial {trial.number} has {rows[trial._trial_id]} rows of epochs"


def _repeated_epochs(trials: list[FrozenTrial]) -> Iterator[str]:
    """An epoch that was finished and reported, and trained again under the next number."""
    by_number = {trial.number: trial for trial in trials}
    for trial in trials:
        if not lineage(trial) or WENT_ON_AFTER not in trial.user_attrs:
            continue
        before = len(by_number[lineage(trial)[-1]].intermediate_values)
        went_on_after = trial.user_attrs[WENT_ON_AFTER]
        if went_on_after < before:
            yield f"trial {trial.number} went on after epoch {went_on_after}, not {before}"
