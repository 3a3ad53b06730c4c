"""Which hyper-parameters mattered: PED-ANOVA, from the complete trials."""

import warnings
from dataclasses import dataclass

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from kidneyseg.search.study_record import StudyRecord, TrialRecord

LEAST = 10  # complete trials
LEAST_BEST = 5  # of them, the best: fewer make the estimate jump (Optuna's advice)
BEST_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Shares that add up to 1, by name, the largest first; or why there are none."""

    shares: dict[str, float]
    n_trials: int
    n_best: int
    why_not: str = ""


def find_importance(record: StudyRecord) -> Importance:
    """How much each hyper-parameter decided whether a trial was among the best.

    Source: Watanabe et al., "PED-ANOVA: efficiently quantifying hyperparameter importance in
    arbitrary subspaces" (IJCAI 2023), as Optuna has it; results taken over from another trial of
    the same hyper-parameters count once.
    """
    trained = [trial for trial in record.complete if trial.copy_of is None]
    n_best = max(LEAST_BEST, round(BEST_SHARE * len(trained)))
    why_not = _why_not(record, trained)
    if why_not:
        return Importance(shares={}, n_trials=len(trained), n_best=n_best, why_not=why_not)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=n_best / len(trained))
    with warnings.catch_warnings(category=UserWarning, action="ignore"):  # small regimes
        found = get_param_importances(_study(record, trained), evaluator=evaluator)
    shares = dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
    return Importance(shares=shares, n_trials=len(trained), n_best=n_best)


def _why_not(record: StudyRecord, trained: list[TrialRecord]) -> str:
    if len(record.definition.space.names()) < 2:
        return "only one hyper-parameter varies"
    if len(trained) < LEAST:
        return f"{LEAST} complete trials or more are needed, and there are {len(trained)}"
    if len({trial.value for trial in trained}) < 2:
        return "all complete trials have the same Dice"
    return ""


def _study(record: StudyRecord, trained: list[TrialRecord]) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    study.add_trials([_frozen(record, trial) for trial in trained])
    return study


def _frozen(record: StudyRecord, trial: TrialRecord) -> FrozenTrial:
    space = record.definition.space.root
    return create_trial(
        params=dict(trial.params),
        distributions={name: space[name].distribution() for name in trial.params},
        value=trial.value,
    )
