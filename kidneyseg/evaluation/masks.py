"""A true and a predicted mask, cut to the box that holds both: the rest of a volume is empty."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.cases import check_same_grid
from kidneyseg.ct.volumes import Volume
from kidneyseg.errors import DataError

Spacing = tuple[float, float, float]  # mm: slice, row, column
Place = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxedMasks:
    """Both masks in one box, and what must be known of the volume around it."""

    truth: NDArray[np.bool_]  # (slices, rows, columns), contiguous
    predicted: NDArray[np.bool_]  # same shape
    spacing_mm: Spacing
    middle: float  # column of the volume's midline, counted in the box
    diagonal_mm: float  # of the whole volume

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000

    def of(self, truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> "BoxedMasks":
        """Other masks in the same box, one kidney of each for instance."""
        return replace(self, truth=truth, predicted=predicted)


def cut_volumes(truth: Volume[np.bool_], predicted: Volume[np.bool_]) -> BoxedMasks:
    """Cut two volumes. Raises DataError where they do not lie on the same grid."""
    check_same_grid(Path("the predicted mask"), truth.geometry, predicted.geometry)
    return cut_masks(truth.array, predicted.array, truth.geometry.spacing_mm)


def cut_masks(
    truth: NDArray[np.bool_],  # (slices, rows, columns), a whole volume
    predicted: NDArray[np.bool_],  # same shape
    spacing_mm: Spacing,
) -> BoxedMasks:
    """Cut two masks of a volume. Raises DataError where their shapes differ."""
    if truth.shape != predicted.shape:
        raise DataError(
            f"a predicted mask of shape {predicted.shape}; expected the truth's {truth.shape}"
        )
    place = find_box(truth, predicted)
    return BoxedMasks(
        truth=np.ascontiguousarray(truth[place]),
        predicted=np.ascontiguousarray(predicted[place]),
        spacing_mm=spacing_mm,
        middle=(truth.shape[2] - 1) / 2 - place[2].start,
        diagonal_mm=float(np.linalg.norm(np.multiply(truth.shape, spacing_mm))),
    )


def find_box(*masks: NDArray[np.bool_]) -> Place:
    """The smallest box that holds all masks; an empty one where they are empty."""
    from_front = np.logical_or.reduce([np.any(mask, axis=2) for mask in masks])  # (slices, rows)
    from_above = np.logical_or.reduce([np.any(mask, axis=0) for mask in masks])  # (rows, columns)
    extents = np.any(from_front, axis=1), np.any(from_front, axis=0), np.any(from_above, axis=0)
    first, second, third = (_range(np.flatnonzero(extent)) for extent in extents)
    return first, second, third


def _range(places: NDArray[np.intp]) -> slice:
    return slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0)
