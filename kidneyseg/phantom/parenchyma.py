"""One kidney of a phantom on one slice: parenchyma, sinus, lesions, and their labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kidneyseg.phantom.irregularity import REACH_OF_WARP_MM, Plane
from kidneyseg.phantom.physique import FAT_HU
from kidneyseg.phantom.shapes import (
    Box,
    Canvas,
    Group,
    Point,
    blend,
    coverage,
    edge,
    met,
    paint,
    tissue,
)

KIDNEY_LABEL, TUMOUR_LABEL = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """How bright the parts of both kidneys are."""

    cortex_hu: float
    medulla_hu: float
    pelvis_hu: float
    vein_hu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kidney:
    """A bent ellipsoid with a hilum cut into it."""

    centre_mm: Point
    axes: NDArray[np.float64]  # (3, 3): towards the lower pole, the back, the hilum
    radii_mm: Point
    bend: float  # the poles lean to the hilum's side by this share of the half breadth
    hilum: Point  # radii of the cut, as shares of the kidney's
    contrast: Contrast
    halo: Group  # the fat around it
    tumours: Group
    parts: Group  # cysts, and the bridge between joined kidneys: they count as kidney
    bumps: float

    @property
    def reach_mm(self) -> Point:
        """Half the bounding box, with what the bend adds."""
        radii = np.asarray(self.radii_mm) * (1.0, 1.0, 1.0 + abs(self.bend))
        reach = 1.05 * np.sqrt(((self.axes * radii[:, None]) ** 2).sum(axis=0))
        return float(reach[0]), float(reach[1]), float(reach[2])


def paint_kidney(canvas: Canvas, kidney: Kidney) -> None:
    """Fat, parenchyma, what lies in the hilum, cysts, tumours; and their labels."""
    paint(canvas, kidney.halo)
    if abs(canvas.inferior_mm - kidney.centre_mm[0]) < kidney.reach_mm[0] + canvas.voxel_mm[0]:
        box = canvas.box(kidney.centre_mm, kidney.reach_mm, REACH_OF_WARP_MM)
        if box is not None:
            _paint_parenchyma(canvas, kidney, box)
    for label, lesions in ((KIDNEY_LABEL, kidney.parts), (TUMOUR_LABEL, kidney.tumours)):
        for shape, box in met(canvas, lesions):
            share = coverage(canvas, shape, box)
            blend(canvas, box, share, tissue(canvas, shape, box))
            canvas.labels[box][share > 0.5] = label


def _paint_parenchyma(canvas: Canvas, kidney: Kidney, box: Box) -> None:
    """The sinus is painted first; the parenchyma leaves it open."""
    along, back, inward, slopes = _own_coordinates(canvas, kidney, box)
    depth = 1 - (along * along + back * back + inward * inward)
    depth += np.float32(kidney.bumps) * canvas.bumps[box]
    cut = _hilum_depth(kidney, along, back, inward) + np.float32(0.2) * canvas.bumps[box]
    cut += np.float32(0.07) * canvas.texture[box]
    share = edge(np.minimum(depth, -cut * np.float32(0.35)), slopes, canvas.voxel_mm)
    whole = edge(depth, slopes, canvas.voxel_mm)
    blend(canvas, box, whole, _sinus_hu(canvas, kidney, box, (along, back, inward)))
    blend(canvas, box, share, _parenchyma_hu(canvas, kidney, box, (along, back, inward, depth)))
    canvas.labels[box][share > 0.5] = KIDNEY_LABEL


def _own_coordinates(
    canvas: Canvas, kidney: Kidney, box: Box
) -> tuple[Plane, Plane, Plane, list[Plane]]:
    """Coordinates in which the kidney is the unit ball, and half the slopes of its depth."""
    down = np.float32(canvas.inferior_mm - kidney.centre_mm[0])
    row = canvas.posterior[box] - np.float32(kidney.centre_mm[1])
    column = canvas.left[box] - np.float32(kidney.centre_mm[2])
    inverse = (kidney.axes / np.asarray(kidney.radii_mm)[:, None]).astype(np.float32)
    along, back, inward = (m[0] * down + m[1] * row + m[2] * column for m in inverse)
    inward = inward - np.float32(kidney.bend) * (along * along - np.float32(0.3))
    slopes = [m[0] * along + m[1] * back + m[2] * inward for m in inverse.T]
    return along, back, inward, slopes


def _hilum_depth(kidney: Kidney, along: Plane, back: Plane, inward: Plane) -> Plane:
    """Positive within the cut: a hollow around the sinus that narrows to its mouth."""
    length, thickness, reach = (np.float32(h) for h in kidney.hilum)
    beyond = inward - np.float32(0.35)
    inner = np.minimum(beyond, 0) / reach
    narrow = thickness * (1 - np.float32(0.15) * np.clip(beyond * 2, 0, 1))
    depth: Plane = 1 - (along / length) ** 2 - (back / narrow) ** 2 - inner * inner
    return depth


def _sinus_hu(canvas: Canvas, kidney: Kidney, box: Box, own: tuple[Plane, Plane, Plane]) -> Plane:
    """Fat with the pelvis in the middle and strands of vessels."""
    along, back, inward = own
    contrast, texture = kidney.contrast, canvas.texture[box]
    hu = FAT_HU + 10 + 10 * texture
    radius = np.sqrt(along * along + (1.6 * back - 0.1) ** 2 + (0.7 * inward - 0.3) ** 2)
    pelvis = np.clip(6 * (0.27 - radius + 0.05 * canvas.bumps[box]), 0, 1)
    hu += pelvis * (np.float32(contrast.pelvis_hu) - hu)
    strands = np.clip(texture * 2.5 - 1.8, 0, 1)
    hu += strands * (np.float32(contrast.vein_hu) - hu)
    return hu


def _parenchyma_hu(
    canvas: Canvas, kidney: Kidney, box: Box, own: tuple[Plane, Plane, Plane, Plane]
) -> Plane:
    """Pyramids of medulla around the sinus, between them and outside them cortex."""
    along, back, inward, depth = own
    around = np.arctan2(back, inward - np.float32(0.2)) * np.float32(5) + canvas.bumps[box]
    pattern = np.sin(around) + np.float32(0.7) * np.cos(np.float32(10) * along)
    pyramids = np.clip((depth - 0.25) * 6, 0, 1) * np.clip(0.3 + 1.1 * pattern, 0, 1)
    contrast = kidney.contrast
    hu: Plane = contrast.cortex_hu + 7 * canvas.texture[box]
    hu -= pyramids * np.float32(contrast.cortex_hu - contrast.medulla_hu)
    return hu
