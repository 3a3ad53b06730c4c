"""Kidneys of every arrangement: number, size, place, connection."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from kidneyseg.phantom.irregularity import random_irregularity
from kidneyseg.phantom.kidneys import Arrangement, build_kidneys, random_arrangement
from kidneyseg.phantom.parenchyma import paint_kidney
from kidneyseg.phantom.physique import random_physique
from kidneyseg.phantom.shapes import new_canvas

VOXEL_MM = (3.0, 2.0, 2.0)


def draw(seed: int, arrangement: Arrangement) -> NDArray[np.uint8]:
    """Labels alone, the midline between columns 124 and 125."""
    rng = np.random.default_rng(seed)
    body, uneven = random_physique(rng), random_irregularity(rng)
    kidneys = build_kidneys(rng, body, uneven, arrangement)
    line = np.arange(-249, 251, 2, dtype=np.float32)
    planes = []
    for inferior_mm in np.arange(-150.0, 150.0, VOXEL_MM[0]):
        canvas = new_canvas(inferior_mm, line, line, VOXEL_MM, uneven)
        for kidney in kidneys:
            paint_kidney(canvas, kidney)
        planes.append(canvas.labels)
    return np.stack(planes)


def parts_above_5_ml(labels: NDArray[np.uint8]) -> int:
    numbered, _ = ndimage.label(labels > 0)
    return int((np.bincount(numbered.ravel())[1:] * np.prod(VOXEL_MM) > 5000).sum())


@pytest.mark.parametrize("seed", range(3))
def test_a_pair_lies_on_both_sides_of_the_spine(seed: int) -> None:
    labels = draw(seed, Arrangement.PAIR)
    assert parts_above_5_ml(labels) == 2
    for half in (labels[:, :, :125], labels[:, :, 125:]):
        assert 40 < (half > 0).sum() * np.prod(VOXEL_MM) / 1000 < 1900


def test_a_single_kidney_lies_on_one_side() -> None:
    labels = draw(0, Arrangement.SINGLE)
    assert parts_above_5_ml(labels) == 1
    halves = sorted([(labels[:, :, :125] > 0).sum(), (labels[:, :, 125:] > 0).sum()])
    assert halves[0] < 0.05 * halves[1]


@pytest.mark.parametrize("seed", range(3))
def test_joined_kidneys_are_one_piece_across_the_midline(seed: int) -> None:
    labels = draw(seed, Arrangement.JOINED)
    assert parts_above_5_ml(labels) == 1
    assert (labels[:, :, 124:126] > 0).any()


def test_volumes_spread_as_in_kits19() -> None:
    """KiTS19's kidney volume: median 408 ml, 95 % below 612, all within 91 to 765."""
    ml = [(draw(seed, Arrangement.PAIR) == 1).sum() * np.prod(VOXEL_MM) / 1000 for seed in range(5)]
    assert 300 < np.median(ml) < 500
    assert min(ml) > 91
    assert max(ml) < 765


def test_single_and_joined_kidneys_are_rare() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_arrangement(rng) for _ in range(4000)]
    assert 0.01 < drawn.count(Arrangement.SINGLE) / 4000 < 0.03
    assert 0.005 < drawn.count(Arrangement.JOINED) / 4000 < 0.02
