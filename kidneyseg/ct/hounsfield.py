"""Whether the values of a CT scan can be Hounsfield units.

A CT of the abdomen holds air (-1000 HU), around the patient and in the bowel. Kidneys are at some
30 HU plain and 200 to 250 HU in the nephrographic phase; a median under their labels far from there
betrays an intercept forgotten (about 1050) or applied twice (about -1000), or a wrong slope. Single
values far out prove nothing: padding is -3024, metal 30 000; reading clips them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.findings import Kind

AIR_HU = -500  # every CT has voxels below it
KIDNEY_HU = (-100.0, 500.0)  # for the median over all voxels labelled kidney or tumour
NARROWEST_HU = 100  # from the lowest to the highest; less are values scaled to SD 1, say
LARGEST_8_BIT = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What is known of a scan's values."""

    low: int
    high: int
    kidney_median: float | None  # None: no labels to look under


def measure_values(
    scan_hu: NDArray[np.int16],  # (slices, rows, columns)
    kidney_hu: NDArray[np.int16] | None,  # (N,) those under the labels
) -> Values:
    """Measure what `judge_values` needs."""
    median = None
    if kidney_hu is not None and kidney_hu.size > 0:
        median = float(np.percentile(kidney_hu, 50))
    return Values(low=int(scan_hu.min()), high=int(scan_hu.max()), kidney_median=median)


def judge_values(values: Values, window: tuple[float, float]) -> tuple[Kind, str] | None:
    """Say what speaks against HU: one kind and its words, or None.

    A scan cut to a window that holds `window`, the one that preparation cuts to, is only noted.
    """
    range_ = f"values from {values.low} to {values.high}"
    if values.low >= 0 and values.high <= LARGEST_8_BIT:
        return Kind.NOT_HU, f"{range_}, as in a picture of 8 bits; expected air near -1000 HU"
    if values.low >= 0:
        return Kind.NOT_HU, f"{range_}, as without the intercept; expected air near -1000 HU"
    if values.high - values.low < NARROWEST_HU:
        return Kind.NOT_HU, f"{range_}, as scaled for a network; expected air near -1000 HU"
    lowest, highest = KIDNEY_HU
    if values.kidney_median is not None and not lowest <= values.kidney_median <= highest:
        return Kind.NOT_HU, (
            f"the median under the kidney labels is {values.kidney_median:.0f}; expected "
            f"{lowest:.0f} to {highest:.0f} HU: wrong intercept or slope, or not its labels"
        )
    if values.low <= AIR_HU:
        return None
    if values.low <= window[0] and window[1] <= values.high:
        return Kind.WINDOWED, f"{range_}: no air"
    return Kind.NOT_HU, f"{range_}, cut to less than data.hu_window {list(window)}"
