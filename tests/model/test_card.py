"""The model card says the numbers that model.json holds."""

import pytest

from kidneyseg.model.card import write_card
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
