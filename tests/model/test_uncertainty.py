"""Passes with dropout: repeatable, spread only where there is dropout, and told in one line."""

import statistics

import numpy as np
import pytest
import torch

from kidneyseg.ct.volumes import Volume, read_scan, write_kits19_case
from kidneyseg.errors import ModelError
from kidneyseg.model.folder import Model
from kidneyseg.model.prediction import predict_mask
from kidneyseg.model.uncertainty import VolumeSpread, check_dropout, measure_spread


@pytest.fixture
def scan(tmp_path_factory: pytest.TempPathFactory) -> Volume[np.int16]:
    folder = tmp_path_factory.mktemp("case")
    random = np.random.default_rng(0)
    hu = random.normal(100, 150, (9, 13, 20)).clip(-1000, 1000).astype(np.int16)
    hu = hu.repeat(4, axis=1).repeat(4, axis=2)
    write_kits19_case(folder, hu, np.zeros(hu.shape, np.uint8), (3.0, 0.8, 0.8))
    return read_scan(folder / "imaging.nii.gz")


def test_passes_differ_and_a_second_call_repeats_them(model: Model, scan: Volume[np.int16]) -> None:
    before = torch.random.get_rng_state()
    first = measure_spread(model, scan, 4)
    assert len(set(first.volumes_ml)) == 4
    assert measure_spread(model, scan, 4) == first
    assert measure_spread(model, scan, 2).volumes_ml == first.volumes_ml[:2]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_network_is_left_as_it_was(model: Model, scan: Volume[np.int16]) -> None:
    before = predict_mask(model, scan)
    measure_spread(model, scan, 2)
    np.testing.assert_array_equal(predict_mask(model, scan), before)
    assert not any(layer.training for layer in model.network.modules())


def test_a_pass_without_anything_dropped_has_the_plain_mask_s_volume(
    model: Model, scan: Volume[np.int16]
) -> None:
    for layer in model.network.modules():
        if isinstance(layer, torch.nn.Dropout2d):
            layer.p = 0.0
    expected = predict_mask(model, scan).sum() * scan.geometry.voxel_ml
    spread = measure_spread(model, scan, 2)
    assert spread.volumes_ml == pytest.approx((expected, expected))
    assert spread.sd_ml == 0


def test_a_network_trained_without_dropout_is_refused(model: Model) -> None:
    changed = model.description.hyperparameters.model_copy(update={"dropout": 0.0})
    description = model.description.model_copy(update={"hyperparameters": changed})
    other = Model(network=model.network, description=description, device=model.device)
    with pytest.raises(ModelError, match=r"^dropout = 0 in this model: passes would not differ"):
        check_dropout(other)


@pytest.mark.parametrize(
    ("volumes", "look", "words"),
    [
        ((100.0, 100.0, 103.0), False, "they agree (SD at most 5% of the mean)"),
        ((100.0, 100.0, 120.0), True, "look at this mask (SD above 5% of the mean)"),
        ((0.0, 1000.0), True, "look at this mask, a pass found no kidney"),
        ((0.0, 0.0), True, "a pass found no kidney"),
    ],
)
def test_a_line_tells_when_to_look(volumes: tuple[float, ...], look: bool, words: str) -> None:
    spread = VolumeSpread(volumes_ml=volumes)
    assert spread.needs_a_look is look
    assert words in spread.in_words()
    assert f"over {len(volumes)} passes" in spread.in_words()
    document = spread.as_json()
    assert document["look"] is look
    assert document["sd_ml"] == pytest.approx(statistics.stdev(volumes))
    assert (document["lowest_ml"], document["highest_ml"]) == (min(volumes), max(volumes))
