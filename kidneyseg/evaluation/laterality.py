"""Which kidney is the right one and which the left.

The image's midline alone does not tell: kidneys lie off their side, are joined across it, or there
is only one. So parts decide, connected by faces and of at least 5 ml:

- A part lies on the side of its centre.
- Two parts whose centres lie on one side, but at least 60 mm apart: two kidneys, one of them off
  its side (a pelvic one, say). The one further to the patient's right is the right kidney.
- A part that reaches 50 mm or more to both sides of the midline: two kidneys joined. It is cut
  where there is least of it, in between.
- What is smaller than 5 ml belongs to the part nearest to it from left to right.

Columns grow to the patient's left, as in every canonical array. Tried on 59 label maps of KiTS19.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.anatomy import FAR_OUT_MM, SMALLEST_PART_ML
from kidneyseg.evaluation.masks import BoxedMasks, Spacing
from kidneyseg.evaluation.parts import MaskParts, find_mask_parts

APART_MM = 60.0  # centres of two kidneys, left to right; KiTS19's pelvic one: 76
LITTLE = 0.1  # of a kidney: less of it predicted, it is missed; less of a part true, it is false


class Side(IntEnum):
    """The patient's sides, as `predict --sides` writes them."""

    RIGHT = 1
    LEFT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedSides:
    """A prediction parted into sides as the truth is."""

    truth: NDArray[np.uint8]  # 0, or a Side
    predicted: NDArray[np.uint8]  # same shape
    missed_kidneys: int  # true kidneys of which less than a tenth is predicted
    false_kidneys: int  # predicted parts of 5 ml or more of which less than a tenth is true


def find_sides(
    kidney: NDArray[np.bool_],  # (slices, rows, columns), canonical
    spacing_mm: Spacing,
    middle: float | None = None,  # column of the midline; without it, the middle one
) -> NDArray[np.uint8]:  # same shape; 0, or a Side
    """Part kidneys into right and left."""
    parts = find_mask_parts(kidney)
    sides = np.zeros(kidney.shape, np.uint8)
    middle = (kidney.shape[2] - 1) / 2 if middle is None else middle
    column_mm = spacing_mm[2]
    main = _main_parts(parts, spacing_mm)
    joined = [p for p in main if _reaches_out(parts, p, middle, FAR_OUT_MM / column_mm)]
    if joined:
        cut = _thinnest_column(parts, joined[0], middle, FAR_OUT_MM / column_mm)
        _part_at(cut, kidney, sides)
        return sides
    border = middle
    centres = parts.columns[main[:2]]
    two = len(centres) == 2 and bool(np.ptp(centres) * column_mm >= APART_MM)
    if two and len(set(_sides_of(centres, middle))) == 1:
        border = float(centres.mean())
    values = _sides_of(parts.columns, border)
    if main:
        nearest = np.abs(parts.columns[:, None] - parts.columns[main]).argmin(axis=1)
        values = values[np.array(main)[nearest]]
    parts.paint(values, kidney, sides)
    _part_at(border, kidney & (sides == 0), sides)
    return sides


def match_sides(masks: BoxedMasks) -> MatchedSides:
    """Part the truth, and a prediction as the truth: each kidney is judged against its own.

    A predicted part belongs to the kidney that it overlaps; one that overlaps both is cut between
    them, and one that overlaps none goes to the side on which it lies.
    """
    sides = find_sides(masks.truth, masks.spacing_mm, masks.middle)
    parts = find_mask_parts(masks.predicted)
    overlaps = np.array([parts.count_where(sides == side) for side in Side])  # (2, parts + 1)
    labels = np.zeros(sides.shape, np.uint8)
    border = _border(sides, masks.middle)
    parts.paint(_values(parts, overlaps > 0, border), masks.predicted, labels)
    _part_at(border, masks.predicted & (labels == 0), labels)
    large = parts.voxels * masks.voxel_ml >= SMALLEST_PART_ML
    false = large & (overlaps.sum(axis=0) < LITTLE * parts.voxels)
    return MatchedSides(
        truth=sides,
        predicted=labels,
        missed_kidneys=sum(_is_missed(sides == side, masks.predicted) for side in Side),
        false_kidneys=int(np.count_nonzero(false)),
    )


def _values(
    parts: MaskParts,
    overlaps: NDArray[np.bool_],  # (2, parts + 1): the right kidney, the left one
    border: float,
) -> NDArray[np.uint8]:  # (parts + 1,)
    """The side of each predicted part; 0 for one that overlaps both kidneys."""
    right, left = overlaps
    values = _sides_of(parts.columns, border)
    values[right] = Side.RIGHT
    values[left] = Side.LEFT
    values[right & left] = 0
    return values


def _main_parts(parts: MaskParts, spacing_mm: Spacing) -> list[int]:
    """The parts of at least 5 ml, the largest first."""
    order = np.argsort(-parts.voxels, kind="stable")
    least = SMALLEST_PART_ML / _voxel_ml(spacing_mm)
    return [int(part) for part in order if parts.voxels[part] >= least]


def _sides_of(columns: NDArray[np.float64], border: float) -> NDArray[np.uint8]:
    return np.where(columns < border, np.uint8(Side.RIGHT), np.uint8(Side.LEFT))


def _part_at(border: float, kidney: NDArray[np.bool_], sides: NDArray[np.uint8]) -> None:
    """Write sides into kidney voxels by their column alone."""
    values = _sides_of(np.arange(kidney.shape[2], dtype=np.float64), border)
    np.copyto(sides, values, where=kidney)


def _reaches_out(parts: MaskParts, part: int, middle: float, far: float) -> bool:
    reached = np.flatnonzero(parts.columns_of(part)) + parts.first[2]
    return bool(middle - reached[0] >= far and reached[-1] - middle >= far)


def _thinnest_column(parts: MaskParts, part: int, middle: float, far: float) -> float:
    """The column, within `far` of the middle, that holds least of a part; of equals the middle."""
    counts = parts.columns_of(part)
    columns = np.arange(len(counts)) + parts.first[2]
    near = np.abs(columns - middle) < far
    thinnest = columns[near][counts[near] == counts[near].min()]
    return float(thinnest.mean()) + 0.5


def _border(true_sides: NDArray[np.uint8], middle: float) -> float:
    """The column that parts right from left with the fewest voxels on the wrong side.

    Half-way through a gap; where there is one kidney alone, or none, the image's midline.
    """
    right, left = (_profile(true_sides == side) for side in Side)
    if not right.any() or not left.any():
        return middle
    wrong = np.append(right[::-1].cumsum()[::-1], 0) + np.insert(left.cumsum(), 0, 0)
    best = np.flatnonzero(wrong == wrong.min())
    return float(best.mean()) - 0.5


def _profile(mask: NDArray[np.bool_]) -> NDArray[np.int64]:  # (columns,)
    counts: NDArray[np.int64] = mask.sum(axis=(0, 1), dtype=np.int64)
    return counts


def _is_missed(kidney: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> bool:
    size = np.count_nonzero(kidney)
    return bool(size and np.count_nonzero(kidney & predicted) < LITTLE * size)


def _voxel_ml(spacing_mm: Spacing) -> float:
    return float(np.prod(spacing_mm) / 1000)
