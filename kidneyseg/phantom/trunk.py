"""The trunk of a phantom: skin, fat, muscles, spine, ribs, lungs' lower ends."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kidneyseg.phantom.bones import build_bones
from kidneyseg.phantom.irregularity import Irregularity, Plane
from kidneyseg.phantom.physique import FAT_HU, SKIN_MM, Physique
from kidneyseg.phantom.shapes import (
    TUBE,
    Canvas,
    Ellipsoid,
    Group,
    axes_along,
    blend,
    coverage,
    edge,
    ellipsoid,
    group,
    turned,
)


def outline(
    canvas: Canvas, body: Physique, half_width_mm: float, front_mm: float, back_mm: float
) -> Plane:
    """The share of each pixel within a rounded rectangle, flatter behind than in front."""
    centre, half_depth = (back_mm + front_mm) / 2, (back_mm - front_mm) / 2
    column = canvas.left / np.float32(half_width_mm)
    row = (canvas.posterior - np.float32(centre)) / np.float32(half_depth)
    square = np.float32(body.squareness)
    across, down = column * column, row * row
    depth = 1 - (across + down - square * across * down)
    slopes = [
        np.zeros((1, 1), np.float32),
        row * (1 - square * across) / np.float32(half_depth),
        column * (1 - square * down) / np.float32(half_width_mm),
    ]
    return edge(depth, slopes, canvas.voxel_mm)


def paint_trunk(canvas: Canvas, body: Physique) -> None:
    """From the skin to the cavity's fat; the canvas then knows where the cavity is."""
    whole = (slice(None), slice(None))
    width, front, back = body.half_width_mm, body.front_mm, body.back_mm
    fat = FAT_HU + 7 * canvas.texture + 3 * canvas.bumps
    blend(canvas, whole, outline(canvas, body, width, front, back), 5.0)
    inner = (width - SKIN_MM, front + SKIN_MM, back - SKIN_MM)
    blend(canvas, whole, outline(canvas, body, *inner), fat)
    inner = (
        inner[0] - body.fat_side_mm,
        inner[1] + body.fat_front_mm,
        inner[2] - body.fat_back_mm,
    )
    muscle = body.muscle_hu + 9 * canvas.texture
    blend(canvas, whole, outline(canvas, body, *inner), muscle)
    depth = body.cavity_half_depth_mm
    canvas.cavity[:] = outline(canvas, body, body.cavity_half_width_mm, -depth, depth)
    blend(canvas, whole, canvas.cavity, fat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """The parts of the trunk that are shapes."""

    fat: Group  # in front, at the belly's midline
    muscles: Group
    bones: Group
    dome: Ellipsoid  # the diaphragm: lung lies beyond it


def build_trunk(rng: np.random.Generator, body: Physique, uneven: Irregularity) -> Trunk:
    """Muscles and bones of a body."""
    return Trunk(
        fat=group(_fat_planes(body), uneven),
        muscles=group(_muscles(rng, body), uneven),
        bones=group(build_bones(rng, body), uneven),
        dome=ellipsoid(
            (30 + rng.normal(0, 5), 0.0, 0.0),
            (150.0, 1.4 * body.cavity_half_depth_mm, 1.4 * body.cavity_half_width_mm),
            FAT_HU,
            texture_hu=7,
        ),
    )


def paint_lungs(canvas: Canvas, trunk: Trunk) -> None:
    """Beyond the diaphragm the cavity is the chest: it holds lung, and organs end there."""
    if canvas.inferior_mm > 0:
        return
    whole = (slice(None), slice(None))
    blend(canvas, whole, canvas.cavity, -860 + 25 * canvas.texture)
    canvas.cavity[:] *= coverage(canvas, trunk.dome, whole)
    blend(canvas, whole, canvas.cavity, FAT_HU + 7 * canvas.texture)


def _muscles(rng: np.random.Generator, body: Physique) -> Iterator[Ellipsoid]:
    """Back muscles with fat between them, quadratus lumborum, psoas."""
    spine = body.spine_posterior_mm
    psoas_mm = rng.uniform(13, 22)
    for side in (-1.0, 1.0):
        yield ellipsoid((0.0, spine + 46, side * 33), (TUBE, 26.0, 34.0), body.muscle_hu)
        yield ellipsoid((0.0, spine + 40, side * 40), (TUBE, 23.0, 26.0), FAT_HU, bumps=0.1)
        yield ellipsoid(
            (0.0, spine + 44, side * 31),
            (TUBE, 23.5, 30.0),
            body.muscle_hu,
            texture_hu=14,
            bumps=0.08,
        )
        yield ellipsoid(
            (70.0, spine + 26, side * 63),
            (75.0, 8.0, 19.0),
            body.muscle_hu,
            texture_hu=8,
            bumps=0.1,
            axes=turned(side * 25),
        )
        yield ellipsoid(
            (130.0, spine + 2, side * 42),
            (150.0, psoas_mm * 1.15, psoas_mm),
            body.muscle_hu,
            texture_hu=6,
            bumps=0.08,
            axes=axes_along((1.0, -0.06, side * 0.1)),
        )


def _fat_planes(body: Physique) -> Iterator[Ellipsoid]:
    """The midline in front, where the straight muscles part."""
    yield ellipsoid(
        (0.0, -body.cavity_half_depth_mm - 0.5 * body.wall_mm, 0.0),
        (TUBE, 0.5 * body.wall_mm, 2.0),
        -40.0,
    )
