"""Which voxels belong to the right kidney and which to the left one.

By component first: of two kidneys, the one further to the patient's right is the right one,
wherever the image's midline runs (it does not part them in 3 of KiTS19's 210 cases). By side of the
midline only where there is one kidney. Kidneys that are joined are parted by the sagittal plane
where what joins them is thinnest.

This is the only place that parts sides: for the mask that `predict --sides` writes, and for the
truth that `evaluate` measures against.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.anatomy import FAR_OUT_MM, SMALLEST_PART_ML, cut_to_labels
from kidneyseg.ct.components import Components, Mask, find_components, relabel
from kidneyseg.ct.volumes import Geometry, Volume

APART_MM = 40.0  # across the body, between the centres of two kidneys (KiTS19: 76 or more)
MIDDLE = (0.25, 0.75)  # of joined kidneys' voxels: between these columns they are parted


class Side(IntEnum):
    """The patient's sides, as they stand in a mask of sides."""

    RIGHT = 1
    LEFT = 2


class Arrangement(StrEnum):
    """How the kidneys lie, as far as a mask shows it."""

    NONE = "none"
    ONE = "one"
    TWO = "two"
    JOINED = "joined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """A mask parted into right and left."""

    mask: NDArray[np.uint8]  # (slices, rows, columns): 0, or a Side
    right_ml: float
    left_ml: float
    arrangement: Arrangement


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where the parts of a mask lie, seen from the image's midline."""

    ml: NDArray[np.floating]  # (P,), the largest first
    centres_mm: NDArray[np.floating]  # (P, 3): slice, row, column; column 0 is the midline
    columns_mm: NDArray[np.floating]  # from the midline, of each column of the mask


def split_sides(
    kidney: Mask,  # (slices, rows, columns), canonical, anything but 0 is kidney
    geometry: Geometry,
) -> Sides:
    """Part a mask of a whole scan into the patient's right and left, as `part_sides` does."""
    sides = np.zeros(geometry.shape, np.uint8)
    arrangement = Arrangement.NONE
    if kidney.any():
        array = kidney.view(np.uint8)
        place = cut_to_labels(Volume(array=array, geometry=geometry)).place
        middle = (geometry.shape[2] - 1) / 2 - place[2].start
        _, arrangement = part_sides(array[place], geometry.spacing_mm, middle, out=sides[place])
    counts = [int(np.count_nonzero(sides == side)) for side in Side]
    return Sides(
        mask=sides,
        right_ml=counts[0] * geometry.voxel_ml,
        left_ml=counts[1] * geometry.voxel_ml,
        arrangement=arrangement,
    )


def part_sides(
    mask: Mask,  # (slices, rows, columns), canonical, any box that holds all kidneys
    spacing_mm: tuple[float, float, float],  # (slice, row, column)
    middle: float,  # column of the image's midline, counted in the box
    out: NDArray[np.uint8] | None = None,  # same shape, where to write; else new
) -> tuple[NDArray[np.uint8], Arrangement]:  # 0, or a Side
    """Part kidneys into right and left, and say how they lie.

    The largest part is a kidney. The other one is the largest of those of 5 ml or more whose centre
    lies 40 mm or more from the first's, across the body. All other parts go with the kidney whose
    centre is nearer, never by the midline. Where there is no other kidney, and the part reaches
    50 mm out on both sides of the midline, it is two that are joined: they are cut where they are
    thinnest. Else it is one kidney, on the side of the midline where its centre lies.
    """
    sides = np.zeros(mask.shape, np.uint8) if out is None else out
    if not mask.any():
        sides[...] = 0
        return sides, Arrangement.NONE
    components = find_components(mask)
    places = _places(mask, components, spacing_mm, middle)
    kidneys = _find_kidneys(places)
    if len(kidneys) == 1 and (plane := _joined_at(mask, components, places)) is not None:
        by_column = np.where(np.arange(mask.shape[2]) <= plane, Side.RIGHT, Side.LEFT)
        sides[...] = 0
        np.copyto(sides, by_column.astype(np.uint8), where=mask != 0)
        return sides, Arrangement.JOINED
    relabel(mask, components, _side_of_parts(kidneys, places), out=sides)
    return sides, Arrangement.TWO if len(kidneys) == 2 else Arrangement.ONE


def _places(
    mask: Mask, components: Components, spacing_mm: tuple[float, float, float], middle: float
) -> _Places:
    return _Places(
        ml=components.n_voxels * (float(np.prod(spacing_mm)) / 1000),
        centres_mm=(components.centres - (0, 0, middle)) * np.array(spacing_mm),
        columns_mm=(np.arange(mask.shape[2]) - middle) * spacing_mm[2],
    )


def _find_kidneys(places: _Places) -> list[int]:
    """The numbers of one or two parts: the largest, and the largest that can be the other one."""
    across_mm = places.centres_mm[:, 2]
    large = np.arange(1, len(across_mm))[places.ml[1:] >= SMALLEST_PART_ML]
    apart = np.abs(across_mm[large] - across_mm[0]) >= APART_MM
    return [0, *large[apart][:1].tolist()]


def _side_of_parts(kidneys: list[int], places: _Places) -> NDArray[np.uint8]:  # (P,)
    """The side of each part: of the only kidney, or of the nearer of two."""
    across_mm = places.centres_mm[:, 2]
    if len(kidneys) == 1:
        alone = Side.LEFT if across_mm[0] > 0 else Side.RIGHT
        return np.full(len(across_mm), alone, np.uint8)
    right, left = sorted(kidneys, key=lambda number: float(across_mm[number]))
    distances = [
        np.linalg.norm(places.centres_mm - places.centres_mm[number], axis=1)
        for number in (right, left)
    ]
    return np.where(distances[0] <= distances[1], Side.RIGHT, Side.LEFT).astype(np.uint8)


def _joined_at(
    mask: Mask,  # (slices, rows, columns)
    components: Components,
    places: _Places,
) -> int | None:
    """The last column of the right kidney where the largest part is both; None where it is one.

    It is both when it reaches as far out on either side of the midline as kidneys lie.
    """
    only = np.zeros(len(components), np.uint8)
    only[0] = 1
    largest = relabel(mask, components, only)
    profile = largest.sum(axis=(0, 1), dtype=np.int64)
    reached_mm = places.columns_mm[np.flatnonzero(profile)]
    if min(-reached_mm[0], reached_mm[-1]) < FAR_OUT_MM:
        return None
    share = np.cumsum(profile) / profile.sum()
    first, last = (int(np.searchsorted(share, part)) for part in MIDDLE)
    between = profile[first : last + 1]
    thinnest = np.flatnonzero(between == between.min())
    return first + int(thinnest[len(thinnest) // 2])
