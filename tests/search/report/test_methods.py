"""Samplers and pruners in sentences, without a name that only a file knows."""

from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from kidneyseg.search.pruner_settings import PrunerSettings
from kidneyseg.search.report.methods import pruner_sentence, sampler_sentence
from kidneyseg.search.sampler_settings import SamplerSettings

Told = dict[str, tuple[dict[str, Any], str]]

SAMPLERS: Told = {
    "tpe": ({"n_startup_trials": 8}, "at random for the first 8 trials, then near those that did"),
    "gp": ({"n_startup_trials": 1}, "at random for the first 1 trial, then where a Gaussian"),
    "cmaes": ({"population": 6}, "in generations of 6, each from a normal distribution"),
    "qmc": ({"sequence": "halton"}, "the points of a Halton sequence"),
    "random": ({}, "drawn at random, each trial by itself."),
    "grid": ({}, "Every combination of the values on a grid is tried once."),
}
PRUNERS: Told = {
    "none": ({}, "No trial is given up early."),
    "median": (
        {"n_startup_trials": 4, "n_warmup_epochs": 2},
        "below the median of the complete trials at the same epoch; never in its first 2 epochs,",
    ),
    "percentile": ({"percentile": 25.0}, "not within the best 25 % of the complete trials'"),
    "successive_halving": ({}, "not in the top 1/3 of all that came as far, at epochs 1, 3, 9 and"),
    "hyperband": ({"min_epochs": 2, "max_epochs": 40}, "at epochs 2, 6, 18 and so on, up to epoch"),
    "threshold": ({"lower": 0.2, "n_warmup_epochs": 1}, "below 0.2 at any epoch after the first 1"),
    "keep_after": ({"epoch": 3}, "up to epoch 3 is not among the best 33% of all that came as"),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_is_told_in_words(name: str) -> None:
    values, words = SAMPLERS[name]
    settings = TypeAdapter[SamplerSettings](SamplerSettings).validate_python(
        {"name": name, **values}
    )
    sentence = sampler_sentence(settings)
    assert words in sentence
    assert "_" not in sentence
    assert sampler_sentence(settings, 1).endswith(". 1 start point was tried first.")


@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner_is_told_in_words(name: str) -> None:
    values, words = PRUNERS[name]
    settings = TypeAdapter[PrunerSettings](PrunerSettings).validate_python({"name": name, **values})
    sentence = pruner_sentence(settings)
    assert words in sentence
    assert "_" not in sentence
    assert sentence.endswith(".")


def test_no_method_is_forgotten() -> None:
    assert len(SAMPLERS) == len(get_args(get_args(SamplerSettings)[0]))
    assert len(PRUNERS) == len(get_args(get_args(PrunerSettings)[0]))
