"""CMA-ES: draws from a normal distribution that moves and turns towards the better trials.

Source: Hansen, "The CMA evolution strategy: a tutorial", arXiv 1604.00772, by the package `cmaes`.
Optuna's own sampler around it keeps the state of the distribution in the database as a pickle,
which whoever loads it executes. Here the state is told anew from the trials of each generation.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import cmaes  # type: ignore[import-untyped]
import numpy as np
import optuna
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from kidneyseg.search.lineage import lineage
from kidneyseg.search.space import SearchSpace

GENERATION = "kidneyseg generation"  # Optuna's system attribute of a trial
FIRST_SIGMA = 1 / 6  # of the way through each range, as Optuna begins


class CmaEsSampler(BaseSampler):
    """Draws one trial's point. A generation is over when enough of its trials are complete."""

    def __init__(self, space: SearchSpace, population: int | None, seed: int) -> None:
        self._space = space
        self._population = population
        self._seed = seed

    def infer_relative_search_space(
        self,
        study: optuna.Study,  # noqa: ARG002 - Optuna's signature
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """All numbers that have more than one value."""
        ranges = {name: range_.distribution() for name, range_ in self._space.root.items()}
        return {name: each for name, each in ranges.items() if not each.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw from the distribution that the finished generations lead to."""
        if not search_space:
            return {}
        cube = _SearchSpaceTransform(search_space, transform_step=True, transform_0_1=True)
        strategy = self._build(len(search_space))
        trials = study.get_trials(deepcopy=False)
        generations = complete_generations(trials)
        while len(told := generations[strategy.generation]) >= strategy.population_size:
            best_is_least = [(cube.transform(dict(params)), -value) for params, value in told]
            strategy.tell(best_is_least[: strategy.population_size])
        study._storage.set_trial_system_attr(trial._trial_id, GENERATION, strategy.generation)
        return cube.untransform(strategy.ask())

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw what a start point leaves open."""
        random = RandomSampler(seed=self._seed)
        return random.sample_independent(study, trial, param_name, param_distribution)

    def _build(self, n_dimensions: int) -> cmaes.CMA:
        return cmaes.CMA(
            mean=np.full(n_dimensions, 0.5),
            sigma=FIRST_SIGMA,
            bounds=np.tile([0.0, 1.0], (n_dimensions, 1)),
            n_max_resampling=10 * n_dimensions,
            seed=self._seed,  # felt by `ask` alone
            population_size=self._population,
        )


def complete_generations(
    trials: Sequence[FrozenTrial],
) -> defaultdict[int, list[tuple[Mapping[str, Any], float]]]:
    """Hyper-parameters and values of complete trials by generation, in the order of numbers.

    The copy of a trial that was handed back is of that trial's generation. `trials` holds all of
    a study, so that the trial of a number stands at its place.
    """
    generations: defaultdict[int, list[tuple[Mapping[str, Any], float]]] = defaultdict(list)
    for trial in trials:
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            for number in (trial.number, *lineage(trial)):
                if GENERATION in trials[number].system_attrs:
                    generation = trials[number].system_attrs[GENERATION]
                    generations[generation].append((trial.params, trial.value))
                    break
    return generations
