"""The model card says the numbers that model.json holds."""

import math

import numpy as np
import pytest

from kidneyseg.model.card import bootstrap_interval, write_card
from kidneyseg.model.folder import Model
from kidneyseg.settings import DataSettings


def rows(card: str) -> dict[str, str]:
    """The card's table rows."""
    cells = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    return {row[0]: row[1] for row in cells if len(row) == 2}


def test_the_card_tells_dice_network_and_where_it_comes_from(model: Model) -> None:
    card = write_card(model.description)
    found = rows(card)
    assert "Validation Dice **0.8750**" in card
    assert "averaged over 2 validation cases" in card
    assert "in epoch 3" in card
    assert found["case_00003"] == "0.7500"
    assert found["network"] == "QuickNAT, 4 filters, 3 x 3, csse, relu, convolution"
    assert found["in-plane"] == "downsampled by 2, slices of 32 x 48"
    assert found["HU window"] == "-79 to 304"
    assert found["learning_rate"] == "0.00314159"
    assert found["study, trial"] == "lr_loss, 12"
    assert found["data"] == f"`{'d' * 64}`"
    assert found["seed"] == "17"
    assert found["versions"] == "torch 2.10"


def test_every_hyperparameter_is_on_the_card(model: Model) -> None:
    found = rows(write_card(model.description))
    for name, value in model.description.hyperparameters.model_dump().items():
        if isinstance(value, str):
            assert found[name] == value
        else:
            assert float(found[name]) == pytest.approx(value, rel=1e-5)


def test_a_training_outside_a_search_has_no_study(model: Model) -> None:
    alone = model.description.provenance.model_copy(update={"study": None, "trial": None})
    card = write_card(model.description.model_copy(update={"provenance": alone}))
    assert rows(card)["study, trial"] == "none, none"


def test_a_pixel_size_is_told_in_millimetres(model: Model) -> None:
    preprocessing = DataSettings(spacing_mm=2.5, slice_size=(64, 64))
    card = write_card(model.description.model_copy(update={"preprocessing": preprocessing}))
    assert rows(card)["in-plane"] == "2.5 mm pixels, slices of 64 x 64"


def test_the_mean_has_a_bootstrap_interval_over_the_cases(model: Model) -> None:
    card = " ".join(write_card(model.description).split())
    low, high = bootstrap_interval(list(model.description.validation.dice_of_case.values()))
    assert (low, high) == (0.75, 1.0)  # a quarter of the resamples of two cases takes one twice
    assert "**0.8750** (95% interval 0.7500 to 1.0000), per volume, averaged over 2" in card


def test_the_bootstrap_interval_of_many_cases_is_that_of_a_normal_mean() -> None:
    values = np.random.default_rng(1).normal(0.9, 0.03, 400)
    expected = values.mean() + np.array([-1.96, 1.96]) * values.std(ddof=1) / math.sqrt(400)
    assert bootstrap_interval(values.tolist()) == pytest.approx(expected.tolist(), abs=2e-4)


def test_one_case_has_no_interval(model: Model) -> None:
    validation = model.description.validation.model_copy(update={"dice_of_case": {"case_1": 0.5}})
    card = write_card(model.description.model_copy(update={"validation": validation}))
    assert "One case gives no interval." in card
    assert "95%" not in card


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("Intended use", ["Research", "No medical device", "not for diagnosis"]),
        ("Limits", ["Hounsfield units", "-79 to 304 HU", "one slice at a time"]),
        ("Data and licence", ["ask the data's owner", "CC BY-NC-SA 4.0"]),
    ],
)
def test_the_card_tells_use_limits_and_licence(
    model: Model, heading: str, words: list[str]
) -> None:
    section = write_card(model.description).split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    for word in words:
        assert word in " ".join(section.split())
