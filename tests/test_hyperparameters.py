"""Hyper-parameters: the report's values by default, impossible ones refused."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from kidneyseg.hyperparameters import Hyperparameters


def test_the_defaults_are_the_reports_values() -> None:
    values = Hyperparameters()
    assert (values.learning_rate, values.alpha, values.beta) == (1e-3, 1.0, 0.5)
    assert (values.batch_size, values.dropout) == (16, 0.2)
    assert (values.step_size, values.gamma) == (50, 0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", math.inf),
        ("learning_rate", math.nan),
        ("alpha", -0.1),
        ("beta", -1),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("dropout", 1),
        ("dropout", -0.1),
        ("step_size", 0),
        ("gamma", 0),
        ("gamma", 1.01),
        ("border_weight", -1),
        ("border_sigma_px", 0),
        ("momentum", 0.9),
    ],
)
def test_impossible_values_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        Hyperparameters.model_validate({name: value})


@pytest.mark.parametrize("name", ["alpha", "beta", "dropout", "border_weight"])
def test_0_switches_a_part_off(name: str) -> None:
    assert getattr(Hyperparameters.model_validate({name: 0}), name) == 0
