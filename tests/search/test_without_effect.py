"""Hyper-parameters that can change nothing in a study are named."""

from typing import Any

import pytest

from kidneyseg.search.definition import StudyFile, StudyPlan
from kidneyseg.search.ranges import Value
from kidneyseg.search.space import parse_space
from kidneyseg.search.without_effect import without_effect
from kidneyseg.settings import Environment

ENVIRONMENT = Environment.model_validate(
    {"data": {"downsampling": 2, "slice_size": [32, 32]}, "training": {"max_epochs": 6}}
)
STEPS = {"type": "int", "low": 2, "high": 50}
EARLY = {"type": "int", "low": 1, "high": 5}
LATE = {"type": "int", "low": 6, "high": 50}
ODD = {"type": "int", "low": 3, "high": 7, "step": 2}
LARGE = {"network": {"filters": 64}}
REAL = {"type": "float", "low": 0.5, "high": 1.0}


def sentences(space: dict[str, Any], **fixed: Value) -> list[str]:
    plan = StudyPlan(
        name="study",
        file=StudyFile(search_space="space"),
        space=parse_space(space, "space.toml"),
        fixed=fixed,
        start_points=(),
    )
    return without_effect(plan, ENVIRONMENT)


@pytest.mark.parametrize(
    ("space", "fixed"),
    [
        ({"learning_rate": REAL, "beta": REAL}, {"alpha": 1.0}),
        ({"step_size": EARLY, "gamma": REAL}, {}),
        ({"gamma": REAL}, {"step_size": 2}),
        ({"learning_rate": REAL}, {"step_size": 5, "gamma": 0.1}),
        ({"learning_rate": REAL}, {"step_size": 10, "gamma": 1.0}),
        ({"border_sigma_px": REAL}, {}),
        ({"border_sigma_px": REAL, "border_weight": REAL}, {"border_weight": 0.0}),
        ({"network": {"filters": STEPS}}, {}),
        ({"beta": {**REAL, "only_if": {"network.activation": "relu"}}}, {}),
        ({"batch_size": STEPS, "beta": {**REAL, "only_if": {"batch_size": 3}}}, {}),
    ],
)
def test_nothing_is_said_of_what_has_an_effect(
    space: dict[str, Any], fixed: dict[str, float]
) -> None:
    assert sentences(space, **fixed) == []


@pytest.mark.parametrize(
    ("space", "fixed", "words"),
    [
        ({"gamma": REAL}, {}, ["gamma has no effect", "after 50 epochs", "after 6 at the latest"]),
        ({"step_size": LATE}, {}, ["step_size has no effect", "after 6 epochs"]),
        (
            {"step_size": STEPS},
            {},
            ["step_size has no effect from 6 to 50", "after 6 at the latest"],
        ),
        (
            {"learning_rate": REAL},
            {"step_size": 10},
            ["step_size has no effect", "after 10 epochs", "after 6 at the latest"],
        ),
        ({"learning_rate": REAL}, {"gamma": 0.1}, ["gamma has no effect", "after 50 epochs"]),
        ({"border_sigma_px": REAL}, {"border_weight": 0.0}, ["border_sigma_px has no effect"]),
        ({"alpha": REAL, "beta": REAL}, {}, ["alpha and beta", "ratio"]),
        ({"beta": REAL}, {"alpha": 0.0}, ["beta has no effect", "alpha is 0"]),
        ({"alpha": REAL}, {"beta": 0.0}, ["alpha has no effect", "beta is 0"]),
        ({"border_weight": REAL}, {"beta": 0.0}, ["border_weight has no effect", "cross-entropy"]),
        ({"step_size": STEPS}, {"gamma": 1.0}, ["step_size has no effect", "no decay"]),
        (
            {"network": {"filters": {**STEPS, "high": 2}}},
            {},
            ["network.filters does not vary: 2 is all"],
        ),
        (
            {"network": {"kernel_size": {**ODD, "only_if": {"network.filters": 8}}}},
            {},
            ["network.kernel_size never applies: network.filters is 64, not 8"],
        ),
        (
            {"network": {"filters": STEPS, "kernel_size": {**ODD, "only_if": LARGE}}},
            {},
            ["network.kernel_size never applies: network.filters is never 64 in this search"],
        ),
    ],
)
def test_what_has_none_is_named_with_the_reason(
    space: dict[str, Any], fixed: dict[str, float], words: list[str]
) -> None:
    (sentence,) = sentences(space, **fixed)
    for word in words:
        assert word in sentence
