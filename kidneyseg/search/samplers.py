"""Which point comes next: the study's start points, then the sampler that its file names.

Every trial gets a sampler seeded by the study's seed and the trial's number. So suggestions do not
depend on which worker asks, and several workers never draw the same point from the same seed.
Points that are decided beforehand (start points, a grid, a sequence) are claimed when a trial first
draws: each is handed out once, whoever asks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from kidneyseg.search.cma_es import CmaEsSampler
from kidneyseg.search.definition import StudyDefinition
from kidneyseg.search.grid import Point, claim_point, claimed_point, grid_points
from kidneyseg.search.places import FIXED, claim_place, claimed_place
from kidneyseg.search.quasi_random import quasi_random_point
from kidneyseg.search.sampler_settings import CMAES, GP, QMC, TPE, Grid, Random
from kidneyseg.search.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """What the next point of one trial comes from."""

    point: dict[str, Any]  # what is decided beforehand
    sampler: BaseSampler  # for the rest


class StudySampler(BaseSampler):
    """The sampler of one study: draws the start points first."""

    def __init__(self, definition: StudyDefinition, storage: Storage) -> None:
        self._definition = definition
        self._storage = storage
        self._turns: dict[int, _Turn] = {}  # by trial id: several may be drawn side by side

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Hyper-parameters that are drawn together; none where the point is there already."""
        turn = self._turn(study, trial)
        if turn.point or FIXED in trial.system_attrs:
            return {}
        return turn.sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw those."""
        return self._turn(study, trial).sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one: the point's value where it has one."""
        turn = self._turn(study, trial)
        if param_name in turn.point:
            return turn.point[param_name]
        return turn.sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,  # noqa: ARG002 - Optuna's signature
        trial: FrozenTrial,
        state: TrialState,  # noqa: ARG002
        values: Sequence[float] | None,  # noqa: ARG002
    ) -> None:
        """Forget the trial: nothing is kept but what is in the database."""
        self._turns.pop(trial._trial_id, None)

    def _turn(self, study: optuna.Study, trial: FrozenTrial) -> _Turn:
        """What a trial draws from; the first time, it claims its point and gets a sampler."""
        if trial._trial_id not in self._turns:
            seed = trial_seed(self._definition.seed, trial.number)
            self._turns[trial._trial_id] = _Turn(
                point=self._claim(study, trial), sampler=build_sampler(self._definition, seed)
            )
        return self._turns[trial._trial_id]

    def _claim(self, study: optuna.Study, trial: FrozenTrial) -> Point:
        definition = self._definition
        if FIXED in trial.system_attrs:
            return {}
        if isinstance(definition.sampler, Grid):
            claim_point(self._grid, study, trial)
            return claimed_point(study, trial)
        n_places = None if isinstance(definition.sampler, QMC) else len(definition.start_points)
        if n_places == 0:
            return {}
        place = claim_place(self._storage, study._study_id, trial._trial_id, n_places)
        return {} if place is None else _point_of(definition, place)

    @cached_property
    def _grid(self) -> list[Point]:
        return grid_points(self._definition)


def start_point(
    definition: StudyDefinition, storage: Storage, study: optuna.Study, trial: FrozenTrial
) -> dict[str, Any]:
    """The point that a trial claimed: a start point, or one of a grid or a sequence; or none.

    A trial with the hyper-parameters of one that was handed back claims none.
    """
    if FIXED in trial.system_attrs:
        return {}
    if isinstance(definition.sampler, Grid):
        return claimed_point(study, trial)
    place = claimed_place(storage, trial._trial_id)
    return {} if place is None else _point_of(definition, place)


def _point_of(definition: StudyDefinition, place: int) -> dict[str, Any]:
    starts = definition.start_points
    if place < len(starts):
        return dict(starts[place])
    if isinstance(definition.sampler, QMC):
        return quasi_random_point(definition, definition.sampler, place - len(starts))
    return {}


def build_sampler(definition: StudyDefinition, seed: int) -> BaseSampler:
    """The sampler of one trial, for what is not decided beforehand."""
    match definition.sampler:
        case TPE(n_startup_trials=n):
            return TPESampler(n_startup_trials=n, seed=seed)
        case GP(n_startup_trials=n):
            return GPSampler(n_startup_trials=n, seed=seed, warn_independent_sampling=False)
        case CMAES(population=population):
            return CmaEsSampler(definition.space, population, seed)
        case Random() | QMC() | Grid():
            return RandomSampler(seed=seed)


def trial_seed(seed: int, number: int) -> int:
    """A seed of its own for each trial, below 2**32."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
