"""Shapes fill the volume that geometry says, whatever the grid and the direction."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from kidneyseg.phantom.irregularity import Irregularity, Waves
from kidneyseg.phantom.shapes import (
    Canvas,
    Ellipsoid,
    Point,
    axes_along,
    coverage,
    cross,
    ellipsoid,
    group,
    new_canvas,
    paint,
    turned,
)

STILL = Waves(frequencies=np.zeros((1, 3)), phases=np.zeros(1), amplitude=0.0)
EVEN = Irregularity(posterior=STILL, left=STILL, bumps=STILL, texture=STILL)
WHOLE = (slice(None), slice(None))


def canvas_at(inferior_mm: float, voxel_mm: Point) -> Canvas:
    line = np.arange(-40, 40, voxel_mm[1], dtype=np.float32)
    return new_canvas(inferior_mm, line, line, voxel_mm, EVEN)


def drawn_ml(shape: Ellipsoid, voxel_mm: Point) -> float:
    places = np.arange(-40, 40, voxel_mm[0])
    shares = sum(float(coverage(canvas_at(z, voxel_mm), shape, WHOLE).sum()) for z in places)
    return shares * math.prod(voxel_mm) / 1000


@pytest.mark.parametrize("voxel_mm", [(1.0, 1.0, 1.0), (5.0, 1.0, 1.0), (2.0, 2.5, 2.5)])
@pytest.mark.parametrize("axes", [None, axes_along((1.0, 2.0, -1.5)), turned(30.0)])
def test_volume_is_four_thirds_pi_abc(voxel_mm: Point, axes: NDArray[np.float64] | None) -> None:
    shape = ellipsoid((0.3, -1.2, 2.0), (27.0, 18.0, 22.0), 100.0, axes=axes)
    expected_ml = 4 / 3 * math.pi * 27 * 18 * 22 / 1000
    assert drawn_ml(shape, voxel_mm) == pytest.approx(expected_ml, rel=0.015)


def test_a_voxel_cut_in_the_middle_is_half_filled() -> None:
    shape = ellipsoid((0.0, 0.0, 0.0), (1e4, 1e4, 20.0), 100.0)
    share = coverage(canvas_at(0.0, (1.0, 1.0, 1.0)), shape, WHOLE)
    np.testing.assert_allclose(share[40, [19, 20, 21]], [0.0, 0.5, 1.0], atol=0.03)


def test_upright_and_tilted_by_nothing_are_the_same() -> None:
    canvas = canvas_at(3.0, (3.0, 1.0, 1.0))
    plain = ellipsoid((1.0, 2.0, -3.0), (12.0, 20.0, 25.0), 100.0)
    tilted = ellipsoid((1.0, 2.0, -3.0), (25.0, 12.0, 20.0), 100.0, axes=np.eye(3)[[2, 0, 1]])
    assert tilted.reach_mm == pytest.approx(plain.reach_mm)
    np.testing.assert_allclose(
        coverage(canvas, plain, WHOLE), coverage(canvas, tilted, WHOLE), atol=1e-5
    )


def test_painting_in_boxes_changes_the_same_pixels_as_painting_everywhere() -> None:
    shapes = [
        ellipsoid((0.0, 10.0, -12.0), (9.0, 14.0, 6.0), 60.0, axes=turned(40.0)),
        ellipsoid((4.0, 14.0, -12.0), (9.0, 9.0, 9.0), 200.0),
    ]
    canvas, whole = canvas_at(2.0, (3.0, 1.0, 1.0)), canvas_at(2.0, (3.0, 1.0, 1.0))
    paint(canvas, group(shapes, EVEN))
    for shape in shapes:
        share = coverage(whole, shape, WHOLE)
        whole.hu[:] += share * (shape.hu - whole.hu)
    np.testing.assert_allclose(canvas.hu, whole.hu, atol=1e-3)


def test_a_slice_beyond_the_shape_stays_as_it_was() -> None:
    canvas = canvas_at(30.0, (3.0, 1.0, 1.0))
    paint(canvas, group([ellipsoid((0.0, 0.0, 0.0), (20.0, 30.0, 30.0), 60.0)], EVEN))
    assert (canvas.hu == -1000).all()


def test_axes_stand_at_right_angles_and_follow_the_direction() -> None:
    axes = axes_along((0.2, -3.0, 1.0))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(cross(axes[0], np.array([0.2, -3.0, 1.0])), 0, atol=1e-12)


def test_vector_product_is_numpys() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([-2.0, 0.5, 4.0])
    np.testing.assert_allclose(cross(a, b), np.cross(a, b))
