"""Which point comes next: the study's start points, then the sampler that its file names.

Every trial gets a sampler seeded by the study's seed and the trial's number. So suggestions do not
depend on which worker asks, and several workers never draw the same point from the same seed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from kidneyseg.search.definition import StudyDefinition
from kidneyseg.search.sampler_settings import TPE, Random, SamplerSettings

FIXED = "fixed_params"  # where Optuna keeps the hyper-parameters of a trial that was put in line


class StudySampler(BaseSampler):
    """The sampler of one study: draws the start points first."""

    def __init__(self, definition: StudyDefinition) -> None:
        self._definition = definition
        self._sampler: BaseSampler = RandomSampler(seed=definition.seed)
        self._start_point: dict[str, Any] = {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Seed the sampler for this trial."""
        self._sampler = build_sampler(
            self._definition.sampler, trial_seed(self._definition.seed, trial.number)
        )
        self._start_point = start_point(self._definition, study, trial)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Hyper-parameters that are drawn together; none at a start point."""
        if self._start_point:
            return {}
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw those."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one: the start point's value where it has one."""
        if param_name in self._start_point:
            return self._start_point[param_name]
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Let the sampler note what it keeps in the database."""
        self._sampler.after_trial(study, trial, state, values)


def start_point(
    definition: StudyDefinition, study: optuna.Study, trial: FrozenTrial
) -> dict[str, Any]:
    """The start point of a trial: the k-th trial with hyper-parameters of its own has point k.

    A trial with those of one that was handed back has none.
    """
    if not definition.start_points or FIXED in trial.system_attrs:
        return {}
    before = study.get_trials(deepcopy=False)[: trial.number]
    k = sum(FIXED not in other.system_attrs for other in before)
    return dict(definition.start_points[k]) if k < len(definition.start_points) else {}


def build_sampler(settings: SamplerSettings, seed: int) -> BaseSampler:
    """Optuna's sampler of these settings."""
    match settings:
        case TPE():
            return TPESampler(n_startup_trials=settings.n_startup_trials, seed=seed)
        case Random():
            return RandomSampler(seed=seed)


def trial_seed(seed: int, number: int) -> int:
    """A seed of its own for each trial, below 2**32."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
