"""Quasi-random points: even in every range, the seed's, and one for each place."""

from collections.abc import Callable
from typing import Any

import pytest
from scipy.stats import qmc

from kidneyseg.search.definition import StudyDefinition, StudyPlan
from kidneyseg.search.quasi_random import quasi_random_point
from kidneyseg.search.sampler_settings import QMC
from kidneyseg.settings import Environment

SPACE = {
    "dropout": {"type": "float", "low": 0.0, "high": 0.5},
    "batch_size": {"type": "int", "low": 1, "high": 8},
    "sampling": {"type": "categorical", "choices": ["uniform", "balanced"]},
    "alpha": {"type": "float", "low": 1, "high": 2, "only_if": {"sampling": "balanced"}},
}
Define = Callable[..., StudyDefinition]


@pytest.fixture
def define(build_plan: Callable[..., StudyPlan], environment: Environment) -> Define:
    def build(seed: int = 0) -> StudyDefinition:
        plan = build_plan(space=SPACE, start_points=(), seed=seed)
        bare = plan.model_copy(update={"fixed": {}})
        return bare.definition(environment, data="d", split="s")

    return build


def points(definition: StudyDefinition, sequence: Any, n: int) -> list[dict[str, Any]]:
    settings = QMC(name="qmc", sequence=sequence)
    return [quasi_random_point(definition, settings, place) for place in range(n)]


def test_16_points_of_sobol_are_one_in_every_sixteenth(define: Define) -> None:
    """A scrambled (t, m, s)-net in base 2: each interval of length 1/16 holds one of 16 points."""
    found = points(define(), "sobol", 16)
    assert sorted(int(point["dropout"] * 2 * 16) for point in found) == list(range(16))
    assert sorted(point["batch_size"] for point in found) == sorted([*range(1, 9)] * 2)
    assert [point["sampling"] for point in found].count("uniform") == 8


@pytest.mark.parametrize("sequence", ["sobol", "halton"])
def test_a_place_has_the_point_that_the_whole_sequence_has_there(
    define: Define, sequence: str
) -> None:
    kind = {"sobol": qmc.Sobol, "halton": qmc.Halton}[sequence]
    whole = kind(4, scramble=True, seed=7).random(8)
    found = points(define(seed=7), sequence, 8)
    assert [point["dropout"] for point in found] == pytest.approx(list(whole[:, 0] / 2))


@pytest.mark.parametrize("sequence", ["sobol", "halton"])
def test_what_a_condition_leaves_out_goes_unused(define: Define, sequence: str) -> None:
    for point in points(define(), sequence, 8):
        assert ("alpha" in point) == (point["sampling"] == "balanced")


def test_the_sequence_is_the_seeds(define: Define) -> None:
    assert points(define(0), "sobol", 4) == points(define(0), "sobol", 4)
    assert points(define(0), "sobol", 4) != points(define(1), "sobol", 4)
