"""From a case to its slices at training resolution: the step whose result is cached."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.cases import CaseVolumes
from kidneyseg.ct.resampling import average, training_axes
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
    slice_mm, *in_plane_mm = case.geometry.spacing_mm
    kept = slices_near_kidney(case.kidney, _margin(settings, slice_mm))
    axes = training_axes(case.kidney.shape[1:], (in_plane_mm[0], in_plane_mm[1]), settings)
    return PreparedSlices(
        images=average(case.scan_hu[kept], axes, np.int16),
        labels=average(case.kidney[kept], axes, np.uint8, scale=LABEL_SCALE),
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


def _margin(settings: DataSettings, slice_mm: float) -> int:
    if settings.margin_mm is None:
        return settings.margin_slices
    return int(settings.margin_mm / slice_mm + 1e-6)
