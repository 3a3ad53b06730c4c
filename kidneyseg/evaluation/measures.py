"""How near a predicted mask comes to the true one, in the measures that this field expects.

Surface measures weigh every piece of surface by its area, as `surface-distance` does; counting
voxels instead moves them by up to 10 points of surface Dice (`docs/evaluation.md`).

Empty masks count. Both empty: every Dice is 1, distances and errors are 0. One empty: every Dice is
0, distances are the volume's diagonal, and `presence` says which one. Nothing is ever NaN: a missed
kidney must not improve any figure.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from kidneyseg.evaluation.masks import BoxedMasks, Spacing, cut_masks
from kidneyseg.evaluation.surfaces import Surface, find_surface

KITS_TOLERANCE_MM = 1.033  # KiTS: how far two readers of the same kidney lie apart
WIDE_TOLERANCE_MM = 2.0
PERCENTILE = 0.95  # of the robust Hausdorff distance


class Presence(StrEnum):
    """Which of the two masks holds anything."""

    BOTH = "both"
    MISSED = "missed"  # nothing was predicted of what is there
    FALSE = "false"  # something was predicted where nothing is
    NEITHER = "neither"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Measures of one mask against the truth."""

    dice: float
    surface_dice_1mm: float  # at KITS_TOLERANCE_MM
    surface_dice_2mm: float
    hd95_mm: float  # the larger of both ways
    distance_to_truth_mm: float  # mean, from the predicted surface to the true one
    distance_to_prediction_mm: float  # mean, from the true surface to the predicted one
    true_ml: float
    predicted_ml: float

    @property
    def volume_error_ml(self) -> float:
        """Predicted - true."""
        return self.predicted_ml - self.true_ml

    @property
    def volume_error_percent(self) -> float:
        """Of the true volume; 100 where there is none and something was predicted."""
        if self.true_ml == 0:
            return 100.0 if self.predicted_ml > 0 else 0.0
        return 100 * self.volume_error_ml / self.true_ml

    @property
    def presence(self) -> Presence:
        """Which of the two masks holds anything."""
        if self.true_ml == 0:
            return Presence.FALSE if self.predicted_ml > 0 else Presence.NEITHER
        return Presence.BOTH if self.predicted_ml > 0 else Presence.MISSED


MEASURES = (
    "dice",
    "surface_dice_1mm",
    "surface_dice_2mm",
    "hd95_mm",
    "distance_to_truth_mm",
    "distance_to_prediction_mm",
    "volume_error_ml",
    "volume_error_percent",
)


def measure(
    truth: NDArray[np.bool_],  # (slices, rows, columns)
    predicted: NDArray[np.bool_],  # same shape and grid
    spacing_mm: Spacing,
) -> Measures:
    """Measure a predicted mask of a whole volume. Raises DataError for masks of other shapes."""
    return measure_masks(cut_masks(truth, predicted, spacing_mm))


def measure_masks(masks: BoxedMasks) -> Measures:
    """Measure a predicted mask.

    Dice = 2 |P and T| / (|P| + |T|). Surface Dice: the share of both surfaces, by area, that lies
    within the tolerance of the other (Nikolov et al. 2018). HD95: the distance that 95 % of a
    surface, by area, lies within; the larger of both ways.
    """
    spacing_mm = masks.spacing_mm
    n_true, n_predicted = np.count_nonzero(masks.truth), np.count_nonzero(masks.predicted)
    volumes_ml = n_true * masks.voxel_ml, n_predicted * masks.voxel_ml
    if n_true == 0 or n_predicted == 0:
        return _of_empty(*volumes_ml, masks.diagonal_mm)
    n_shared = np.count_nonzero(masks.truth & masks.predicted)
    true_surface = find_surface(masks.truth, spacing_mm)
    predicted_surface = find_surface(masks.predicted, spacing_mm)
    there = _Distances.between(true_surface, predicted_surface, spacing_mm)
    back = _Distances.between(predicted_surface, true_surface, spacing_mm)
    return Measures(
        dice=2 * n_shared / (n_true + n_predicted),
        surface_dice_1mm=_surface_dice(there, back, KITS_TOLERANCE_MM),
        surface_dice_2mm=_surface_dice(there, back, WIDE_TOLERANCE_MM),
        hd95_mm=max(there.percentile_mm(PERCENTILE), back.percentile_mm(PERCENTILE)),
        distance_to_truth_mm=back.mean_mm,
        distance_to_prediction_mm=there.mean_mm,
        true_ml=volumes_ml[0],
        predicted_ml=volumes_ml[1],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Distances:
    """How far each piece of a surface lies from another surface."""

    mm: NDArray[np.float64]  # (M,)
    areas_mm2: NDArray[np.float64]  # (M,)

    @classmethod
    def between(cls, first: Surface, second: Surface, spacing_mm: Spacing) -> "_Distances":
        """The distances from the pieces of the first surface to the second."""
        spacing = np.array(spacing_mm)
        distances_mm = np.zeros(len(first.cells))
        apart = ~_contained(first.cells, second.cells)
        if apart.any():
            far = first.cells[apart]
            _, nearest = KDTree(second.cells * spacing).query(far * spacing)
            steps_mm = (far - second.cells[nearest]) * spacing  # of whole cells: no rounding
            distances_mm[apart] = np.sqrt((steps_mm**2).sum(axis=1))
        return cls(mm=distances_mm, areas_mm2=first.areas_mm2)

    @property
    def mean_mm(self) -> float:
        """The mean by area."""
        return float((self.mm * self.areas_mm2).sum() / self.areas_mm2.sum())

    def percentile_mm(self, share: float) -> float:
        """The distance that a share of the surface, by area, lies within."""
        order = np.argsort(self.mm)
        shares = np.cumsum(self.areas_mm2[order]) / self.areas_mm2.sum()
        place = min(int(np.searchsorted(shares, share)), len(order) - 1)
        return float(self.mm[order[place]])

    def area_within_mm2(self, tolerance_mm: float) -> float:
        """The area of what lies within a tolerance."""
        return float(self.areas_mm2[self.mm <= tolerance_mm].sum())


def _surface_dice(there: _Distances, back: _Distances, tolerance_mm: float) -> float:
    within = there.area_within_mm2(tolerance_mm) + back.area_within_mm2(tolerance_mm)
    return float(within / (there.areas_mm2.sum() + back.areas_mm2.sum()))


def _contained(
    cells: NDArray[np.int32],  # (M, 3)
    others: NDArray[np.int32],  # (K, 3)
) -> NDArray[np.bool_]:  # (M,)
    """Which cells are among the others."""
    shape = np.maximum(cells.max(axis=0), others.max(axis=0)) + 1
    numbers = np.ravel_multi_index(tuple(cells.T), tuple(shape))
    return np.isin(numbers, np.ravel_multi_index(tuple(others.T), tuple(shape)), assume_unique=True)


def _of_empty(true_ml: float, predicted_ml: float, diagonal_mm: float) -> Measures:
    """The measures where a mask, or both, are empty."""
    neither = true_ml == predicted_ml == 0
    distance_mm, dice = (0.0, 1.0) if neither else (diagonal_mm, 0.0)
    return Measures(
        dice=dice,
        surface_dice_1mm=dice,
        surface_dice_2mm=dice,
        hd95_mm=distance_mm,
        distance_to_truth_mm=distance_mm,
        distance_to_prediction_mm=distance_mm,
        true_ml=true_ml,
        predicted_ml=predicted_ml,
    )
