"""The two matrices against closed forms, torch and real kidneys."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from kidneyseg.ct.resampling import (
    Axis,
    average,
    average_matrix,
    interpolation_matrix,
    resample,
    training_axes,
)
from kidneyseg.ct.volumes import read_labels
from kidneyseg.settings import DataSettings

HALF = DataSettings(downsampling=2, slice_size=(64, 64))
AXES = [
    Axis(n_full=n_full, n_training=int(np.ceil(n_full / pitch - 1e-6)), pitch=pitch)
    for n_full in (1, 2, 5, 16, 33)
    for pitch in (0.4, 1.0, 1.7, 2.0, 3.0, 4.5)
]


def down_and_up(
    slices: NDArray[np.generic], settings: DataSettings, spacing_mm: tuple[float, float] = (1, 1)
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Slices at training resolution, and those brought back."""
    rows, columns = training_axes((slices.shape[1], slices.shape[2]), spacing_mm, settings)
    small = resample(slices, average_matrix(rows), average_matrix(columns))
    return small, resample(small, interpolation_matrix(rows), interpolation_matrix(columns))


def random_slices(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_a_constant_stays_the_constant(axis: Axis) -> None:
    down, up = average_matrix(axis), interpolation_matrix(axis)
    assert down.shape == (axis.n_training, axis.n_full)
    assert up.shape == (axis.n_full, axis.n_training)
    for weights in (down, up):
        assert weights.min() >= 0
        np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_what_is_symmetric_stays_symmetric(axis: Axis) -> None:
    for weights in (average_matrix(axis), interpolation_matrix(axis)):
        np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize("axis", [axis for axis in AXES if axis.n_training > 2], ids=str)
def test_centres_stay_where_they_are(axis: Axis) -> None:
    """A ramp is averaged to the ramp of the training pixels' centres, ends apart.

    A border of a training pixel that cuts a pixel f : 1 - f moves the mean by f (1 - f) / 2 pitch.
    """
    cut = 0.0 if axis.pitch < 1 or axis.pitch.is_integer() else 2 / (8 * axis.pitch)
    ramp = np.arange(axis.n_full) - (axis.n_full - 1) / 2
    centres = (np.arange(axis.n_training) - (axis.n_training - 1) / 2) * axis.pitch
    found = average_matrix(axis) @ ramp
    np.testing.assert_allclose(found[1:-1], centres[1:-1], atol=cut + 1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_downsampling_is_the_mean_of_blocks(factor: int) -> None:
    slices = random_slices(2, 12, 24)
    settings = DataSettings(downsampling=factor, slice_size=(64, 64))
    small, _ = down_and_up(slices, settings)
    blocks = slices.reshape(2, 12 // factor, factor, 24 // factor, factor).mean((2, 4))
    np.testing.assert_allclose(small, blocks, atol=1e-6)


def test_an_odd_length_is_halved_about_its_centre() -> None:
    """Five pixels: three of pitch 2, the outer ones mended by what lies inside."""
    rows, _ = training_axes((5, 5), (1.0, 1.0), HALF)
    expected = [
        [2 / 3, 1 / 3, 0, 0, 0],
        [0, 1 / 4, 1 / 2, 1 / 4, 0],
        [0, 0, 0, 1 / 3, 2 / 3],
    ]
    np.testing.assert_allclose(average_matrix(rows), expected, atol=1e-7)


@pytest.mark.parametrize("settings", [{"downsampling": 1}, {"spacing_mm": 0.8}])
def test_the_same_resolution_changes_nothing(settings: dict[str, float]) -> None:
    slices = random_slices(2, 7, 10)
    same = DataSettings.model_validate({**settings, "slice_size": (64, 64)})
    small, back = down_and_up(slices, same, spacing_mm=(0.8, 0.8))
    np.testing.assert_allclose(small, slices, atol=1e-6)
    np.testing.assert_allclose(back, slices, atol=1e-6)


def test_every_pixel_counts_the_same_so_that_area_is_kept() -> None:
    slices = random_slices(3, 16, 24) > 0.5
    small, _ = down_and_up(slices, HALF)
    np.testing.assert_allclose(small.sum((1, 2)) * 4, slices.sum((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("factor", [2, 3])
def test_both_ways_agree_with_torch(factor: int) -> None:
    slices = random_slices(2, 18, 30)
    settings = DataSettings(downsampling=factor, slice_size=(64, 64))
    small, back = down_and_up(slices, settings)
    images = torch.from_numpy(slices).unsqueeze(1)
    area = F.interpolate(images, size=(18 // factor, 30 // factor), mode="area")
    bilinear = F.interpolate(area, size=(18, 30), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(small, area[:, 0].numpy(), atol=1e-5)
    np.testing.assert_allclose(back, bilinear[:, 0].numpy(), atol=1e-5)


def test_finer_pixels_are_interpolated_as_torch_does() -> None:
    slices = random_slices(2, 9, 12)
    settings = DataSettings(spacing_mm=0.5, slice_size=(64, 64))
    small, _ = down_and_up(slices, settings, spacing_mm=(1.0, 1.0))
    images = torch.from_numpy(slices).unsqueeze(1)
    bilinear = F.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(small, bilinear[:, 0].numpy(), atol=1e-5)


def test_a_target_spacing_makes_pixels_square() -> None:
    settings = DataSettings(spacing_mm=2.0, slice_size=(64, 64))
    rows, columns = training_axes((100, 80), (0.8, 0.5), settings)
    assert rows == Axis(n_full=100, n_training=40, pitch=2.5)
    assert columns == Axis(n_full=80, n_training=20, pitch=4.0)


def test_a_target_spacing_covers_every_pixel() -> None:
    settings = DataSettings(spacing_mm=5.0, slice_size=(80, 80))
    for n_full, spacing_mm in ((512, 0.7813), (101, 3.0), (3, 0.5)):
        rows, _ = training_axes((n_full, n_full), (spacing_mm, spacing_mm), settings)
        assert rows.n_training * 5.0 >= n_full * spacing_mm - 1e-3
        assert (average_matrix(rows).sum(0) > 0).all()


@pytest.mark.parametrize("name", ["case_00110", "case_00010", "case_00089"])
def test_soft_labels_of_real_kidneys_survive_the_round_trip(
    name: str, real_labels: Callable[[str], Path]
) -> None:
    """Dice of the truth against itself at half the resolution: 0.995 at least, 0.997 as a rule."""
    kidney = read_labels(real_labels(name)).array > 0
    kidney = kidney[kidney.any(axis=(1, 2))][::4]
    _, back = down_and_up(kidney, HALF)
    found = back > 0.5
    dice = 2 * (found & kidney).sum() / (found.sum() + kidney.sum())
    assert dice >= 0.995


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(40, 60, 120), (3, 61, 70)])
def test_averages_are_those_of_the_matrices_bit_by_bit(
    order: Literal["C", "F"], factor: int, shape: tuple[int, int, int]
) -> None:
    """However the volume lies in memory, and whether blocks are whole or not."""
    random = np.random.default_rng(0)
    hu = np.array(random.integers(-1024, 3072, shape), np.int16, order=order)[::-1]
    kidney = np.array(random.random(shape) < 0.4, order=order)[:, ::-1]
    settings = DataSettings(downsampling=factor, slice_size=(16, 16))
    axes = training_axes(shape[1:], (1.0, 1.0), settings)
    rows, columns = (average_matrix(axis) for axis in axes)
    images, labels = average(hu, axes, np.int16), average(kidney, axes, np.uint8, scale=144)
    expected = resample(np.ascontiguousarray(hu), rows, columns)
    np.testing.assert_array_equal(images, np.rint(expected))
    expected = resample(np.ascontiguousarray(kidney), rows, columns)
    np.testing.assert_array_equal(labels, np.rint(expected * 144))
    assert images.flags.c_contiguous


@pytest.mark.parametrize("value", [-1024, 3071])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_averages_hold_at_both_ends_of_the_range(factor: int, value: int) -> None:
    hu = np.full((2, 48, 48), value, np.int16)
    settings = DataSettings(downsampling=factor, slice_size=(16, 16))
    assert (average(hu, training_axes((48, 48), (1.0, 1.0), settings), np.int16) == value).all()
