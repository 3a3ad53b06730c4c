"""What can be done to a predicted mask afterwards; each step is off unless it is asked for.

Opening and closing use a ball in millimetres, whatever the spacing. The ball is applied slice by
slice, exactly and in the memory of a slice: a voxel lies within r of the mask when, in some slice
at a distance z of its own, the mask lies within sqrt(r^2 - z^2) in the plane.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kidneyseg.ct.anatomy import SMALLEST_PART_ML, cut_to_labels
from kidneyseg.ct.components import find_components, relabel
from kidneyseg.ct.volumes import Geometry, Volume

Spacing = tuple[float, float, float]  # (slice, row, column) in mm
Box = tuple[slice, slice, slice]

SLAB_SLICES = 64  # opened or closed at a time, so that a long scan takes no more memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Postprocessing:
    """Steps in the order in which they are done."""

    opening_mm: float = 0.0  # radius: what is thinner goes
    closing_mm: float = 0.0  # radius: gaps that are narrower are filled
    smallest_ml: float = 0.0  # parts below it go
    largest_two: bool = False  # other parts go; the second too if it is a speck (below 5 ml)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slab:
    """Neighbouring slices, and those around them that decide what becomes of them."""

    seen: slice
    middle: slice  # of what is seen: the wanted ones
    wanted: slice


def clean_mask(
    mask: NDArray[np.uint8],  # (slices, rows, columns), canonical, 1 is kidney
    geometry: Geometry,
    steps: Postprocessing,
) -> NDArray[np.uint8]:  # same shape
    """Do the steps that are asked for; the mask given is left as it is."""
    if steps.opening_mm > 0:
        mask = open_mask(mask, geometry, steps.opening_mm)
    if steps.closing_mm > 0:
        mask = close_mask(mask, geometry, steps.closing_mm)
    if steps.smallest_ml > 0 or steps.largest_two:
        mask = keep_parts(mask, geometry, steps)
    return mask


def open_mask(
    mask: NDArray[np.uint8], geometry: Geometry, radius_mm: float
) -> NDArray[np.uint8]:  # (slices, rows, columns)
    """Keep what a ball of this radius can reach from inside.

    What lies beyond the scan is unknown, so a kidney that the field of view cuts stays cut flat.
    """
    result = np.zeros_like(mask)
    if not mask.any():
        return result
    box = _around(mask, geometry, radius_mm)
    before, after = mask[box], result[box]
    for slab in _slabs(len(before), _reach(geometry, radius_mm)[0]):
        core = ~_within(before[slab.seen] == 0, geometry.spacing_mm, radius_mm)
        opened = _within(core, geometry.spacing_mm, radius_mm)
        after[slab.wanted] = opened[slab.middle]
    return result


def close_mask(
    mask: NDArray[np.uint8], geometry: Geometry, radius_mm: float
) -> NDArray[np.uint8]:  # (slices, rows, columns)
    """Add all that a ball of this radius cannot reach from outside."""
    if not mask.any():
        return mask.copy()
    result = mask.copy()
    box = _around(mask, geometry, radius_mm)
    before, after = mask[box], result[box]
    margins = [2 * n for n in _reach(geometry, radius_mm)]
    middle = tuple(slice(margin, -margin) for margin in margins)
    for slab in _slabs(len(before), margins[0] // 2):
        padded = np.pad(before[slab.seen] != 0, [(margin, margin) for margin in margins])
        grown = _within(padded, geometry.spacing_mm, radius_mm)
        closed = ~_within(~grown, geometry.spacing_mm, radius_mm)
        after[slab.wanted] |= closed[middle][slab.middle]
    return result


def keep_parts(
    mask: NDArray[np.uint8], geometry: Geometry, steps: Postprocessing
) -> NDArray[np.uint8]:  # (slices, rows, columns)
    """Keep the parts, connected by faces, that are large enough, or the largest two of them."""
    result = np.zeros_like(mask)
    if not mask.any():
        return result
    place = cut_to_labels(Volume(array=mask, geometry=geometry)).place
    components = find_components(mask[place])
    ml = components.n_voxels * geometry.voxel_ml
    kept = ml >= steps.smallest_ml
    if steps.largest_two:
        kept[1:2] &= ml[1:2] >= SMALLEST_PART_ML
        kept[2:] = False
    relabel(mask[place], components, kept.astype(np.uint8), out=result[place])
    return result


def _around(mask: NDArray[np.uint8], geometry: Geometry, margin_mm: float) -> Box:
    """The smallest box with the whole mask and a margin, cut to the scan."""
    found = cut_to_labels(Volume(array=mask, geometry=geometry)).place
    slices, rows, columns = (
        slice(max(extent.start - margin, 0), extent.stop + margin)
        for extent, margin in zip(found, _reach(geometry, margin_mm), strict=True)
    )
    return slices, rows, columns


def _reach(geometry: Geometry, radius_mm: float) -> list[int]:
    """How many voxels along each axis surely hold the radius."""
    return [int(radius_mm / mm) + 1 for mm in geometry.spacing_mm]


def _slabs(n_slices: int, reach: int) -> Iterator[_Slab]:
    """Cut a volume along its slices for two steps of the ball, one after the other."""
    for first in range(0, n_slices, SLAB_SLICES):
        last = min(first + SLAB_SLICES, n_slices)
        lowest = max(first - 2 * reach, 0)
        yield _Slab(
            seen=slice(lowest, last + 2 * reach),
            middle=slice(first - lowest, last - lowest),
            wanted=slice(first, last),
        )


def _within(
    mask: NDArray[np.bool_],  # (slices, rows, columns)
    spacing_mm: Spacing,
    radius_mm: float,
) -> NDArray[np.bool_]:  # (slices, rows, columns)
    """Which voxels lie within the radius of a voxel of the mask, centre to centre."""
    slice_mm, row_mm, column_mm = spacing_mm
    reach = int(radius_mm / slice_mm)
    result = np.zeros_like(mask)
    for number, slice_ in enumerate(mask):
        if not slice_.any():
            continue
        distance = ndimage.distance_transform_edt(~slice_, sampling=(row_mm, column_mm))
        for step in range(max(-reach, -number), min(reach, len(mask) - 1 - number) + 1):
            result[number + step] |= distance <= math.sqrt(radius_mm**2 - (step * slice_mm) ** 2)
    return result
