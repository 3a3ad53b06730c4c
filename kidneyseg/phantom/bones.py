"""The bones of a phantom: spine and ribs."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kidneyseg.phantom.physique import Physique
from kidneyseg.phantom.shapes import TUBE, Ellipsoid, axes_along, cross, ellipsoid, turned

VERTEBRA_MM = 33.0  # from one to the next


def build_bones(rng: np.random.Generator, body: Physique) -> Iterator[Ellipsoid]:
    """Ribs first: the spine covers their ends."""
    yield from _ribs(rng, body)
    yield from _spine(rng, body)


def _spine(rng: np.random.Generator, body: Physique) -> Iterator[Ellipsoid]:
    """Vertebrae from the chest to the pelvis, with discs between them."""
    first = rng.uniform(0, VERTEBRA_MM)
    spine = body.spine_posterior_mm
    yield ellipsoid((0.0, spine, 0.0), (TUBE, 15.5, 20.5), 85.0, texture_hu=6)
    for k in range(-10, 14):
        yield from _vertebra(first + k * VERTEBRA_MM, spine, body.bone_hu)
    yield ellipsoid((0.0, spine + 25, 0.0), (TUBE, 9.0, 11.5), 30.0, texture_hu=4)


def _vertebra(middle: float, spine: float, bone_hu: float) -> Iterator[Ellipsoid]:
    """Body with a hard rim, pedicles, facets, transverse processes, spinous process."""
    yield ellipsoid(
        (middle, spine, 0.0), (19.0, 17.5, 23.5), bone_hu + 230, texture_hu=30, bumps=0.03
    )
    yield ellipsoid((middle, spine, 0.0), (17.0, 15.3, 21.0), bone_hu, texture_hu=45, bumps=0.03)
    back = middle + 4
    for side in (-1.0, 1.0):
        yield ellipsoid((middle - 4, spine + 20, side * 14), (8.0, 9.0, 5.0), bone_hu + 380)
        yield ellipsoid((back + 8, spine + 35, side * 14), (14.0, 7.0, 6.5), bone_hu + 450)
        yield ellipsoid((back + 8, spine + 35, side * 14), (12.0, 4.0, 4.0), bone_hu + 80)
        yield ellipsoid(
            (back, spine + 30, side * 30), (5.0, 3.8, 17.0), bone_hu + 360, axes=turned(side * -10)
        )
    yield ellipsoid((back + 10, spine + 52, 0.0), (11.0, 18.0, 4.0), bone_hu + 420)
    yield ellipsoid((back + 10, spine + 52, 0.0), (9.0, 15.0, 2.0), bone_hu + 40)


def _ribs(rng: np.random.Generator, body: Physique) -> Iterator[Ellipsoid]:
    """Ribs run down from the spine within the wall; the last two end free."""
    lowest = rng.uniform(-25, 0)
    for k in range(9):
        full = 150.0 if k > 1 else (50.0, 95.0)[k]
        start = lowest - 27 * k
        for side in (-1.0, 1.0):
            yield from _rib(body, start, side, full)


def _rib(body: Physique, start: float, side: float, full: float) -> Iterator[Ellipsoid]:
    """One rib as a chain, `full` degrees round the body."""
    angles = np.radians(np.arange(14.0, full, 5.0))
    wall = body.wall_mm * 0.45
    across, along = body.cavity_half_width_mm + wall, body.cavity_half_depth_mm + wall
    square = 1 + 0.32 * body.squareness * np.sin(2 * angles) ** 2
    points = np.stack(
        [
            start + 85 * (1 - np.cos(angles)) / 2 + 10 * angles,
            along * np.cos(angles) * square + 3 * np.cos(angles),
            side * across * np.sin(angles) * square,
        ],
        axis=1,
    )
    for point, following in pairwise(points):
        axes = axes_along(following - point)
        length = float(np.linalg.norm(following - point))
        middle = (float(point[0]), float(point[1]), float(point[2]))
        axes = np.stack([axes[0], *_upright_section(axes[0])])
        yield ellipsoid(middle, (0.95 * length, 6.5, 3.8), body.bone_hu + 450, axes=axes)
        yield ellipsoid(middle, (0.95 * length, 4.6, 1.9), body.bone_hu - 40, axes=axes)


def _upright_section(along: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A rib's height (as near to upright as it gets) and thickness."""
    height = np.array([1.0, 0.0, 0.0]) - along[0] * along
    height /= np.linalg.norm(height)
    return height, cross(along, height)
