"""The machine's settings: defaults as the report has them, wrong ones refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from kidneyseg.network import AUTHORS
from kidneyseg.settings import (
    CommonSettings,
    DataSettings,
    Environment,
    NetworkSettings,
    Part,
    TrainingSettings,
)

DATA = {"downsampling": 2, "slice_size": (256, 256)}


def test_the_defaults_are_the_reports() -> None:
    environment = Environment.model_validate({"data": DATA})
    assert environment.data.kidney_labels == (1, 2)
    assert environment.data.margin_slices == 20
    assert environment.data.test_fraction == environment.data.validation_fraction == 0.2
    assert (environment.network.filters, environment.network.kernel_size) == (64, 5)
    assert environment.network.squeeze_excitation == "csse"
    assert environment.network.output_channels == environment.network.input_slices == 1
    assert (environment.training.max_epochs, environment.training.patience) == (6, 2)
    assert environment.evaluation.threshold == 0.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"downsampling": None}, "exactly one of downsampling and spacing_mm"),
        ({"spacing_mm": 2.0}, "exactly one of downsampling and spacing_mm"),
        ({"hu_window": (100, 100)}, "the first must be the smaller"),
        ({"hu_window": (100, -100)}, "the first must be the smaller"),
        ({"hu_window": (float("-inf"), 100)}, "finite"),
        ({"slice_size": (256, 15)}, "at least 16 x 16"),
        ({"kidney_labels": ()}, "whole numbers from 1 up"),
        ({"kidney_labels": (0, 1)}, "whole numbers from 1 up"),
        ({"other_labels": (0,)}, "whole numbers from 1 up"),
        ({"other_labels": (3, 2)}, r"other_labels \[2\]: in kidney_labels, too"),
        ({"downsampling": 0}, "downsampling"),
        ({"test_fraction": 0}, "test_fraction"),
        ({"test_fraction": 1}, "test_fraction"),
        ({"margin_slices": -1}, "margin_slices"),
        ({"folder_": "x"}, "folder_"),
    ],
)
def test_wrong_data_settings_are_refused(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        DataSettings.model_validate({**DATA, **values})


@pytest.mark.parametrize(
    ("part", "values"),
    [
        (NetworkSettings, {"filters": 1}),
        (NetworkSettings, {"kernel_size": 4}),
        (NetworkSettings, {"input_slices": 2}),
        (NetworkSettings, {"output_channels": 3}),
        (NetworkSettings, {"pool_size": 5}),
        (TrainingSettings, {"patience": 0}),
        (TrainingSettings, {"small_batch_size": 0}),
        (TrainingSettings, {"precision": "float16"}),
    ],
)
def test_wrong_settings_of_network_and_training_are_refused(
    part: type[Part], values: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        part.model_validate(values)


def test_settings_cannot_be_changed() -> None:
    settings = DataSettings.model_validate(DATA)
    with pytest.raises(ValidationError, match="frozen"):
        settings.margin_slices = 3


@pytest.mark.parametrize(
    "address", ["s3://kidneys", "s3://kidneys/a/b", "runs/kept", "/disk", "s3"]
)
def test_places_of_artifacts_are_taken(address: str) -> None:
    assert CommonSettings(artifacts=address).artifacts == address


@pytest.mark.parametrize(
    "address", ["", "s3://", "s3:///x", "s3://Kidneys", "s3://a_b/x", "gs://kidneys", "http://x/y"]
)
def test_places_that_no_artifact_can_have_are_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="expected a folder or s3://bucket/prefix"):
        CommonSettings(artifacts=address)


@pytest.mark.parametrize(("pool_size", "side"), [(2, 16), (3, 81), (4, 256)])
def test_slices_must_be_large_enough_for_four_poolings(pool_size: int, side: int) -> None:
    def environment(side: int) -> Environment:
        data = {"downsampling": 2, "slice_size": [side, 300]}
        return Environment.model_validate({"data": data, "network": {"pool_size": pool_size}})

    assert environment(side).network.pool_size == pool_size
    with pytest.raises(ValidationError, match=f"needs at least {side} x {side}|at least 16 x 16"):
        environment(side - 1)


def test_a_variant_of_the_network_has_a_name() -> None:
    named = NetworkSettings.model_validate({"variant": "authors", "filters": 8})
    assert named == NetworkSettings(activation="prelu", bottleneck="dense", filters=8)
    assert NetworkSettings.model_validate({"variant": "report"}) == NetworkSettings()
    mixed = NetworkSettings.model_validate({"variant": "authors", "activation": "relu"})
    assert (mixed.activation, mixed.bottleneck) == ("relu", "dense")
    with pytest.raises(ValidationError, match="variant 'mine': expected report or authors"):
        NetworkSettings.model_validate({"variant": "mine"})


def test_the_authors_variant_is_their_network() -> None:
    assert NetworkSettings.model_validate({"variant": "authors"}) == AUTHORS
