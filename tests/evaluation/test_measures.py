"""Measures: closed forms, the reference of the field, empty masks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import surface_distance as reference
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from kidneyseg.ct.volumes import Volume, read_geometry, read_labels, write_kits19_case
from kidneyseg.errors import DataError
from kidneyseg.evaluation.masks import cut_volumes
from kidneyseg.evaluation.measures import MEASURES, Presence, measure
from tests.machine import KITS19_LABELS, needs_kits19_labels

Mask = NDArray[np.bool_]
Triple = tuple[float, float, float]

SPACINGS = [(1.0, 1.0, 1.0), (5.0, 0.7, 0.9), (0.5, 0.8, 0.8)]
SHAPE = (16, 20, 24)


def box(*edges: tuple[int, int]) -> Mask:
    mask = np.zeros(SHAPE, np.bool_)
    mask[tuple(slice(first, last) for first, last in edges)] = True
    return mask


def ball(radius_mm: float, spacing_mm: Triple, side_mm: float) -> Mask:
    axes = [np.arange(0, side_mm, mm) - side_mm / 2 for mm in spacing_mm]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    inside: Mask = z**2 + y**2 + x**2 <= radius_mm**2
    return inside


def blobs(seed: int) -> Mask:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1.5)
    mask: Mask = noise > np.quantile(noise, 0.7)
    return mask


def assert_as_the_reference(truth: Mask, predicted: Mask, spacing_mm: Triple) -> None:
    distances = reference.compute_surface_distances(truth, predicted, spacing_mm)
    there, back = reference.compute_average_surface_distance(distances)
    ours = measure(truth, predicted, spacing_mm)
    expected = [
        reference.compute_surface_dice_at_tolerance(distances, 1.033),
        reference.compute_surface_dice_at_tolerance(distances, 2.0),
        reference.compute_robust_hausdorff(distances, 95),
        there,
        back,
        reference.compute_dice_coefficient(truth, predicted),
    ]
    found = [
        ours.surface_dice_1mm,
        ours.surface_dice_2mm,
        ours.hd95_mm,
        ours.distance_to_prediction_mm,
        ours.distance_to_truth_mm,
        ours.dice,
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the reference's own use of scipy
@pytest.mark.parametrize("spacing_mm", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_random_masks_are_measured_as_the_reference_does(seed: int, spacing_mm: Triple) -> None:
    assert_as_the_reference(blobs(seed), blobs(seed + 100), spacing_mm)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the reference's own use of scipy
@needs_kits19_labels
@pytest.mark.slow
@pytest.mark.parametrize("name", ["case_00005", "case_00040", "case_00085"])
def test_real_kidneys_are_measured_as_the_reference_does(name: str) -> None:
    volume = read_labels(KITS19_LABELS / name / "segmentation.nii.gz")
    first = int(np.flatnonzero(volume.array.max(axis=(1, 2)))[0])
    truth = np.ascontiguousarray(volume.array[first : first + 60] > 0)
    predicted = np.roll(truth, (1, 2, -3), axis=(0, 1, 2))
    predicted[:, :, 330:340] = False
    assert_as_the_reference(truth, predicted, volume.geometry.spacing_mm)


def test_a_box_moved_by_two_columns() -> None:
    truth, predicted = box((2, 12), (5, 15), (4, 14)), box((2, 12), (5, 15), (6, 16))
    measures = measure(truth, predicted, (3.0, 1.0, 0.5))
    assert measures.dice == 0.8
    assert measures.hd95_mm == 1.0  # the faces that moved, a tenth of the surface each, and more
    assert measures.distance_to_truth_mm == pytest.approx(measures.distance_to_prediction_mm)
    assert measures.surface_dice_1mm == 1.0
    assert measures.true_ml == pytest.approx(1.5)
    assert measures.volume_error_ml == 0


def test_a_ball_within_a_ball_is_off_by_the_difference_of_radii() -> None:
    """The nearest of a surface's cells lies up to a cell nearer than the surface."""
    spacing_mm = (0.75, 0.5, 0.5)
    truth, predicted = (ball(radius, spacing_mm, side_mm=52) for radius in (24, 21))
    measures = measure(truth, predicted, spacing_mm)
    assert measures.distance_to_truth_mm == pytest.approx(3, abs=0.4)
    assert measures.distance_to_prediction_mm == pytest.approx(3, abs=0.4)
    assert measures.hd95_mm == pytest.approx(3, abs=0.6)
    assert measures.surface_dice_2mm == pytest.approx(0, abs=0.02)
    assert measures.dice == pytest.approx(2 * 21**3 / (21**3 + 24**3), abs=0.003)
    assert measures.true_ml == pytest.approx(4 / 3 * np.pi * 2.4**3, rel=0.005)
    assert measures.volume_error_percent == pytest.approx(100 * ((21 / 24) ** 3 - 1), abs=0.5)


def test_far_parts_lie_as_far_as_they_do() -> None:
    truth, predicted = box((0, 1), (0, 1), (0, 1)), box((12, 13), (0, 1), (0, 1))
    measures = measure(truth, predicted, (2.5, 1.0, 1.0))
    assert measures.hd95_mm == 30.0
    assert measures.distance_to_truth_mm == 28.75  # half of its eight cells are a slice nearer
    assert measures.dice == measures.surface_dice_2mm == 0


def test_the_same_mask_is_perfect() -> None:
    measures = measure(blobs(0), blobs(0), (5.0, 0.7, 0.9))
    assert measures.dice == measures.surface_dice_1mm == measures.surface_dice_2mm == 1
    assert measures.hd95_mm == measures.distance_to_truth_mm == 0


def test_both_empty_is_perfect() -> None:
    measures = measure(np.zeros(SHAPE, np.bool_), np.zeros(SHAPE, np.bool_), (1.0, 1.0, 1.0))
    figures = [getattr(measures, name) for name in MEASURES]
    assert figures == [1, 1, 1, 0, 0, 0, 0, 0]
    assert measures.presence is Presence.NEITHER


@pytest.mark.parametrize("missed", [True, False])
def test_one_empty_is_as_far_off_as_the_volume_allows(*, missed: bool) -> None:
    kidney, nothing = box((2, 12), (5, 15), (4, 14)), np.zeros(SHAPE, np.bool_)
    truth, predicted = (kidney, nothing) if missed else (nothing, kidney)
    measures = measure(truth, predicted, (3.0, 2.0, 1.0))
    diagonal_mm = np.sqrt((16 * 3) ** 2 + (20 * 2) ** 2 + 24**2)
    sign = -1 if missed else 1
    figures = [getattr(measures, name) for name in MEASURES]
    expected = [0, 0, 0, *[diagonal_mm] * 3, sign * 6.0, sign * 100]
    assert figures == pytest.approx(expected)
    assert measures.presence is (Presence.MISSED if missed else Presence.FALSE)


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(16, 20, 23\); expected the truth's \(16, 20,"):
        measure(blobs(0), blobs(0)[:, :, :23], (1.0, 1.0, 1.0))


def test_masks_on_different_grids_are_refused(tmp_path: Path) -> None:
    zeros = np.zeros(SHAPE, np.int16)
    write_kits19_case(tmp_path, zeros, zeros.astype(np.uint8), (3.0, 1.0, 1.0))
    geometry = read_geometry(tmp_path / "imaging.nii.gz")
    moved = replace(geometry, affine=geometry.affine + np.diag([0, 0, 0.5, 0]))
    truth = Volume(array=blobs(0), geometry=geometry)
    with pytest.raises(DataError, match="mm from the scan's"):
        cut_volumes(truth, Volume(array=blobs(0), geometry=moved))
    assert cut_volumes(truth, truth).truth.any()
