"""Where scans lie, and what their noise and padding are."""

from dataclasses import replace

import numpy as np
import pytest

from kidneyseg.phantom.irregularity import random_irregularity
from kidneyseg.phantom.physique import Physique, random_physique
from kidneyseg.phantom.scanner import (
    SPACINGS_MM,
    Geometry,
    Scanner,
    full_geometry,
    grid,
    random_scanner,
    small_geometry,
    take,
)
from kidneyseg.phantom.shapes import Canvas, new_canvas

KIDNEYS_MM = (-65.0, 70.0)


@pytest.fixture(scope="module")
def full() -> list[Geometry]:
    rng = np.random.default_rng(0)
    return [full_geometry(rng, random_physique(rng), KIDNEYS_MM) for _ in range(600)]


def empty_canvas() -> Canvas:
    line = np.arange(-150, 150, 1.5, dtype=np.float32)
    uneven = random_irregularity(np.random.default_rng(0))
    return new_canvas(0.0, line, line, (5.0, 1.5, 1.5), uneven)


@pytest.fixture(scope="module")
def body() -> Physique:
    return random_physique(np.random.default_rng(3))


def plain_scanner(noise_seed: int) -> Scanner:
    scanner = random_scanner(np.random.default_rng(0), 200, 5.0, (noise_seed,))
    return replace(scanner, padding_hu=None, noise_hu=12.0)


def test_spacings_come_from_kits19_as_often_as_there(full: list[Geometry]) -> None:
    spacings = np.array([geometry.spacing_mm[0] for geometry in full])
    for spacing in (5.0, 3.0, 0.5):
        expected = SPACINGS_MM[spacing] / 210
        assert (spacings == spacing).mean() == pytest.approx(expected, abs=0.06)
    assert sum(SPACINGS_MM.values()) == 210


def test_slice_counts_are_those_of_kits19(full: list[Geometry]) -> None:
    """KiTS19: 29 to 1059, median 108, mean 216."""
    counts = np.array([len(geometry.slices_mm) for geometry in full])
    assert counts.min() >= 29
    assert counts.max() <= 1059
    assert 85 <= np.median(counts) <= 130
    assert 160 <= counts.mean() <= 260


def test_pixels_are_those_of_kits19(full: list[Geometry]) -> None:
    pixels = np.array([geometry.spacing_mm[1] for geometry in full])
    assert pixels.min() >= 0.4375
    assert pixels.max() <= 1.042
    assert all(g.spacing_mm[1] == g.spacing_mm[2] for g in full)


def test_a_few_scans_end_within_the_kidneys(full: list[Geometry]) -> None:
    cut = np.mean([geometry.slices_mm[-1] < KIDNEYS_MM[1] for geometry in full])
    assert 0.005 < cut < 0.05


def test_small_scans_hold_the_kidneys_whole(body: Physique) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        slices = small_geometry(rng, body, KIDNEYS_MM).slices_mm
        assert 28 <= len(slices) <= 45
        assert slices[0] < KIDNEYS_MM[0]
        assert slices[-1] > KIDNEYS_MM[1]


def test_grid_counts_from_the_first_voxels_centre() -> None:
    geometry = grid((-3.0, 10.0, -20.0), (3, 2, 4), (5.0, 0.5, 2.0))
    np.testing.assert_array_equal(geometry.slices_mm, [-3, 2, 7])
    np.testing.assert_array_equal(geometry.rows_mm, [10, 10.5])
    np.testing.assert_array_equal(geometry.columns_mm, [-20, -18, -16, -14])


def test_noise_is_as_strong_as_said_and_neighbouring_pixels_share_it(body: Physique) -> None:
    canvas = empty_canvas()
    canvas.hu[:] = 0
    image = take(canvas, plain_scanner(1), 0, body).astype(float)
    middle = image[80:120, 80:120]
    assert middle.std() == pytest.approx(1.1 * 12, rel=0.15)
    assert np.corrcoef(middle[:, 1:].ravel(), middle[:, :-1].ravel())[0, 1] > 0.2
    assert abs(middle.mean()) < 3


def test_neighbouring_slices_share_some_noise_and_distant_ones_none(body: Physique) -> None:
    scanner = plain_scanner(2)
    slices = []
    for k in range(3):
        canvas = empty_canvas()
        canvas.hu[:] = 0
        slices.append(take(canvas, scanner, k, body).ravel().astype(float))
    assert np.corrcoef(slices[0], slices[1])[0, 1] > 0.2
    assert abs(np.corrcoef(slices[0], slices[2])[0, 1]) < 0.05


def test_padding_fills_the_corners_and_leaves_the_circle(body: Physique) -> None:
    scanner = replace(plain_scanner(0), padding_hu=-3024.0)
    image = take(empty_canvas(), scanner, 0, body)
    assert (image == -3024).mean() == pytest.approx(1 - np.pi / 4, abs=0.01)
    assert image[100, 2] > -1100
    assert image[0, 0] == -3024
