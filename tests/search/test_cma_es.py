"""CMA-ES: the distribution is that of the package, told the generations; no state is stored."""

from typing import Any

import cmaes  # type: ignore[import-untyped]
import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from kidneyseg.search.cma_es import GENERATION, CmaEsSampler, complete_generations
from kidneyseg.search.lineage import LINEAGE
from kidneyseg.search.space import parse_space

SPACE = parse_space(
    {
        "dropout": {"type": "float", "low": 0.0, "high": 0.5},
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    },
    "space.toml",
)
POPULATION = 4


def new_study() -> optuna.Study:
    return optuna.create_study(direction="maximize")


def draw(study: optuna.Study, seed: int = 0) -> optuna.Trial:
    study.sampler = CmaEsSampler(SPACE, POPULATION, seed)
    trial = study.ask()
    SPACE.draw(trial, {})
    return trial


def value(params: dict[str, Any]) -> float:
    return -abs(float(params["dropout"]) - 0.1) - float(params["learning_rate"])


def in_cube(params: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([2 * params["dropout"], (np.log10(params["learning_rate"]) + 4) / 2])


def test_what_is_drawn_is_what_one_strategy_told_every_generation_draws() -> None:
    study = new_study()
    strategy = cmaes.CMA(
        mean=np.array([0.5, 0.5]),
        sigma=1 / 6,
        bounds=np.array([[0.0, 1.0], [0.0, 1.0]]),
        n_max_resampling=20,
        population_size=POPULATION,
    )
    for generation in range(3):
        told = []
        for member in range(POPULATION):
            seed = 10 * generation + member
            trial = draw(study, seed)
            strategy._rng = np.random.RandomState(seed)
            expected = strategy.ask()
            assert in_cube(trial.params) == pytest.approx(expected)
            study.tell(trial, value(trial.params))
            told.append((expected, -value(trial.params)))
            assert study.trials[-1].system_attrs == {GENERATION: generation}
        strategy.tell(told)


def test_a_generation_is_over_when_enough_of_its_trials_are_complete() -> None:
    study = new_study()
    for state in (TrialState.FAIL, TrialState.PRUNED):
        trial = draw(study, trial_seed := len(study.trials))
        if state == TrialState.PRUNED:
            trial.report(0.5, trial_seed)
        study.tell(trial, state=state)
    trials = [draw(study, seed) for seed in range(POPULATION + 1)]
    for trial in trials[:-1]:
        study.tell(trial, value(trial.params))
        expected = 1 if trial is trials[POPULATION - 1] else 0
        draw(study, 99)
        assert study.trials[-1].system_attrs[GENERATION] == expected
    study.tell(trials[-1], 0.5)  # late: its generation is over
    assert [len(told) for told in complete_generations(study.trials).values()] == [5]


def test_a_copy_belongs_to_the_generation_of_the_trial_that_was_handed_back() -> None:
    study = new_study()
    first = draw(study)
    study.tell(first, state=TrialState.FAIL)
    study.enqueue_trial(first.params, user_attrs={LINEAGE: [first.number]})
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    copy = study.ask()
    SPACE.draw(copy, {})
    study.tell(copy, 0.5)
    assert complete_generations(study.trials) == {0: [(first.params, 0.5)]}


def test_different_seeds_draw_different_points_of_one_generation() -> None:
    study = new_study()
    points = {tuple(draw(study, seed).params.values()) for seed in range(30)}
    assert len(points) == 30
