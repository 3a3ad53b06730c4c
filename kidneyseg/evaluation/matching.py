"""Which predicted voxels are judged against the right kidney, and which against the left one.

The truth is parted as everywhere (`ct.laterality`), and the prediction as the truth.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.anatomy import SMALLEST_PART_ML
from kidneyseg.ct.components import Components, count_where, find_components, relabel
from kidneyseg.ct.laterality import Side, part_sides
from kidneyseg.evaluation.masks import BoxedMasks

LITTLE = 0.1  # of a kidney: less of it predicted, it is missed; less of a part true, it is false


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedSides:
    """A prediction parted into sides as the truth is."""

    truth: NDArray[np.uint8]  # 0, or a Side
    predicted: NDArray[np.uint8]  # same shape
    missed_kidneys: int  # true kidneys of which less than a tenth is predicted
    false_kidneys: int  # predicted parts of 5 ml or more of which less than a tenth is true


def match_sides(masks: BoxedMasks) -> MatchedSides:
    """Part the truth, and a prediction as the truth: each kidney is judged against its own.

    A predicted part belongs to the kidney that it overlaps; one that overlaps both is cut between
    them, and one that overlaps none goes to the side on which it lies.
    """
    truth, _ = part_sides(masks.truth, masks.spacing_mm, masks.middle)
    predicted = np.zeros(truth.shape, np.uint8)
    false_kidneys = 0
    if masks.predicted.any():
        parts = find_components(masks.predicted)
        overlaps = np.array([count_where(masks.predicted, parts, truth == side) for side in Side])
        border = _border(truth, masks.middle)
        relabel(masks.predicted, parts, _values(parts, overlaps > 0, border), out=predicted)
        by_column = _sides_of(np.arange(truth.shape[2], dtype=np.float64), border)
        np.copyto(predicted, by_column, where=masks.predicted & (predicted == 0))
        large = parts.n_voxels * masks.voxel_ml >= SMALLEST_PART_ML
        false_kidneys = int((large & (overlaps.sum(axis=0) < LITTLE * parts.n_voxels)).sum())
    return MatchedSides(
        truth=truth,
        predicted=predicted,
        missed_kidneys=sum(_is_missed(truth == side, masks.predicted) for side in Side),
        false_kidneys=false_kidneys,
    )


def _values(
    parts: Components,
    overlaps: NDArray[np.bool_],  # (2, P): the right kidney, the left one
    border: float,
) -> NDArray[np.uint8]:  # (P,)
    """The side of each predicted part; 0 for one that overlaps both kidneys."""
    right, left = overlaps
    values = _sides_of(parts.centres[:, 2], border)
    values[right] = Side.RIGHT
    values[left] = Side.LEFT
    values[right & left] = 0
    return values


def _sides_of(columns: NDArray[np.float64], border: float) -> NDArray[np.uint8]:
    return np.where(columns < border, np.uint8(Side.RIGHT), np.uint8(Side.LEFT))


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
