"""Which voxels belong to the right kidney and which to the left one.

By component first: of two kidneys, the one further to the patient's right is the right one,
wherever the image's midline runs (it does not part them in 3 of KiTS19's 210 cases). By side of the
midline only where there is one kidney. Kidneys that are joined are parted by the sagittal plane
where what joins them is thinnest.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.anatomy import FAR_OUT_MM, SMALLEST_PART_ML, cut_to_labels
from kidneyseg.ct.components import Components, find_components, relabel
from kidneyseg.ct.volumes import Geometry, Volume

RIGHT, LEFT = 1, 2  # values in a mask of sides
APART_MM = 40.0  # across the body, between the centres of two kidneys (KiTS19: 76 or more)
MIDDLE = (0.25, 0.75)  # of joined kidneys' voxels: between these columns they are parted


class Arrangement(StrEnum):
    """How the kidneys lie, as far as a mask shows it."""

    NONE = "none"
    ONE = "one"
    TWO = "two"
    JOINED = "joined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """A mask parted into right and left."""

    mask: NDArray[np.uint8]  # (slices, rows, columns): 0, RIGHT or LEFT, the patient's
    right_ml: float
    left_ml: float
    arrangement: Arrangement


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where the parts of a mask lie, seen from the image's midline."""

    ml: NDArray[np.floating]  # (P,), the largest first
    centres_mm: NDArray[np.floating]  # (P, 3): slice, row, column; column 0 is the midline
    columns_mm: NDArray[np.floating]  # from the midline, of the box's first column and all after it


def split_sides(
    kidney: NDArray[np.bool_] | NDArray[np.uint8],  # (slices, rows, columns), canonical
    geometry: Geometry,
) -> Sides:
    """Part a mask of kidneys (anything but 0) into the patient's right and left.

    Parts of less than 5 ml go with the kidney whose centre is nearer. A horseshoe kidney is cut
    where it is thinnest; a single kidney belongs to the side of the midline where its centre lies.
    """
    sides = np.zeros(geometry.shape, np.uint8)
    arrangement = Arrangement.NONE
    if kidney.any():
        array = kidney.view(np.uint8)
        place = cut_to_labels(Volume(array=array, geometry=geometry)).place
        components = find_components(array[place])
        first = np.array([extent.start for extent in place])
        places = _places(components, first, geometry)
        arrangement = _split(array[place], components, places, out=sides[place])
    counts = [int(np.count_nonzero(sides == side)) for side in (RIGHT, LEFT)]
    return Sides(
        mask=sides,
        right_ml=counts[0] * geometry.voxel_ml,
        left_ml=counts[1] * geometry.voxel_ml,
        arrangement=arrangement,
    )


def _places(components: Components, first: NDArray[np.int64], geometry: Geometry) -> _Places:
    middle = np.array([0, 0, (geometry.shape[2] - 1) / 2])
    columns = np.arange(geometry.shape[2] - first[2]) + first[2] - middle[2]
    return _Places(
        ml=components.n_voxels * geometry.voxel_ml,
        centres_mm=(components.centres + first - middle) * np.array(geometry.spacing_mm),
        columns_mm=columns * geometry.spacing_mm[2],
    )


def _split(
    labels: NDArray[np.uint8],  # (slices, rows, columns), a box
    components: Components,
    places: _Places,
    out: NDArray[np.uint8],  # same shape
) -> Arrangement:
    """Part the box of a mask that is not empty; the sides go into `out`."""
    kidneys = _find_kidneys(places)
    if len(kidneys) == 1 and (plane := _joined_at(labels, components, places)) is not None:
        sides = np.where(np.arange(labels.shape[2]) <= plane, RIGHT, LEFT).astype(np.uint8)
        np.copyto(out, sides, where=labels != 0)
        return Arrangement.JOINED
    relabel(labels, components, _side_of_parts(kidneys, places), out=out)
    return Arrangement.TWO if len(kidneys) == 2 else Arrangement.ONE


def _find_kidneys(places: _Places) -> list[int]:
    """The numbers of one or two parts: the largest, and the largest that can be the other one."""
    across_mm = places.centres_mm[:, 2]
    large = np.arange(1, len(across_mm))[places.ml[1:] >= SMALLEST_PART_ML]
    apart = np.abs(across_mm[large] - across_mm[0]) >= APART_MM
    return [0, *large[apart][:1].tolist()]


def _side_of_parts(kidneys: list[int], places: _Places) -> NDArray[np.uint8]:  # (P,)
    """The side of each part: of its kidney, or where that is the only one, of the midline."""
    across_mm = places.centres_mm[:, 2]
    if len(kidneys) == 1:
        alone = LEFT if across_mm[0] > 0 else RIGHT
        sides = np.where(across_mm > 0, LEFT, RIGHT)
        near = np.abs(across_mm - across_mm[0]) < APART_MM
        result: NDArray[np.uint8] = np.where(near, alone, sides).astype(np.uint8)
        return result
    right, left = sorted(kidneys, key=lambda number: float(across_mm[number]))
    distances = [
        np.linalg.norm(places.centres_mm - places.centres_mm[number], axis=1)
        for number in (right, left)
    ]
    nearer: NDArray[np.uint8] = np.where(distances[0] <= distances[1], RIGHT, LEFT).astype(np.uint8)
    return nearer


def _joined_at(
    labels: NDArray[np.uint8],  # (slices, rows, columns), a box
    components: Components,
    places: _Places,
) -> int | None:
    """The last column of the right kidney where the largest part is both; None where it is one.

    It is both when it reaches as far out on either side of the midline as kidneys lie.
    """
    only = np.zeros(len(components), np.uint8)
    only[0] = 1
    largest = relabel(labels, components, only)
    profile = largest.sum(axis=(0, 1), dtype=np.int64)
    reached_mm = places.columns_mm[np.flatnonzero(profile)]
    if min(-reached_mm[0], reached_mm[-1]) < FAR_OUT_MM:
        return None
    share = np.cumsum(profile) / profile.sum()
    first, last = (int(np.searchsorted(share, part)) for part in MIDDLE)
    between = profile[first : last + 1]
    thinnest = np.flatnonzero(between == between.min())
    return first + int(thinnest[len(thinnest) // 2])
