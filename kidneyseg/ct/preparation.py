"""From a case to its slices at training resolution: the step whose result is cached."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.cases import CaseVolumes
from kidneyseg.ct.resampling import average_matrix, resample, training_axes
from kidneyseg.settings import DataSettings

PREPARATION_VERSION = 1  # raise it when this step's result changes
LABEL_SCALE = 144  # a label of 1.0 as stored; divisible by 4, 9 and 16: downsampling stays exact


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSlices:
    """The kept slices of a case at training resolution."""

    images: NDArray[np.int16]  # (N, rows, columns), HU, averaged by area
    labels: NDArray[np.uint8]  # (N, rows, columns), share of kidney x LABEL_SCALE
    first_slice: int  # index of the first kept slice in the scan
    spacing_mm: tuple[float, float, float]  # (slice, row, column) of the prepared slices


def prepare_slices(case: CaseVolumes, settings: DataSettings) -> PreparedSlices:
    """Keep the slices within the margin of the kidney and bring them to training resolution."""
    kept = slices_near_kidney(case.kidney, settings.margin_slices)
    slice_mm, *in_plane_mm = case.geometry.spacing_mm
    axes = training_axes(case.kidney.shape[1:], (in_plane_mm[0], in_plane_mm[1]), settings)
    rows, columns = (average_matrix(axis) for axis in axes)
    images = np.rint(resample(case.scan_hu[kept], rows, columns)).astype(np.int16)
    labels = np.rint(resample(case.kidney[kept], rows, columns) * LABEL_SCALE).astype(np.uint8)
    return PreparedSlices(
        images=images,
        labels=labels,
        first_slice=kept.start,
        spacing_mm=(slice_mm, in_plane_mm[0] * axes[0].pitch, in_plane_mm[1] * axes[1].pitch),
    )


def slices_near_kidney(
    kidney: NDArray[np.bool_],  # (slices, rows, columns), not empty
    margin: int,
) -> slice:
    """The range of slices from `margin` above the first kidney slice to `margin` below the last."""
    holding = np.flatnonzero(kidney.any(axis=(1, 2)))
    first, last = int(holding[0]), int(holding[-1])
    return slice(max(0, first - margin), min(len(kidney), last + margin + 1))
