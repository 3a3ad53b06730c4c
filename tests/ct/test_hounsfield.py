"""What speaks against HU, and what does not."""

import numpy as np
import pytest

from kidneyseg.ct.findings import Kind
from kidneyseg.ct.hounsfield import Values, judge_values, measure_values

WINDOW = (-79.0, 304.0)


@pytest.mark.parametrize(
    ("low", "high", "median", "words"),
    [
        (0, 3071, 1054.0, "values from 0 to 3071, as without the intercept; expected air near"),
        (0, 2400, None, "values from 0 to 2400, as without the intercept; expected air near"),
        (0, 255, 140.0, "values from 0 to 255, as in a picture of 8 bits; expected air near -1000"),
        (0, 1, 1.0, "values from 0 to 1, as in a picture of 8 bits"),
        (-3, 4, 1.0, "values from -3 to 4, as scaled for a network; expected air near -1000 HU"),
        (-1024, 3071, 1060.0, "the median under the kidney labels is 1060; expected -100 to 500"),
        (-1024, 1000, -990.0, "the median under the kidney labels is -990; expected -100 to 500"),
        (-1024, 3071, 2040.0, "wrong intercept or slope, or not its labels"),
        (-50, 250, 150.0, "values from -50 to 250, cut to less than data.hu_window [-79.0, 304.0]"),
        (-200, 250, 150.0, "values from -200 to 250, cut to less than data.hu_window"),
    ],
)
def test_values_that_are_not_hu_are_told_why(
    low: int, high: int, median: float | None, words: str
) -> None:
    verdict = judge_values(Values(low=low, high=high, kidney_median=median), WINDOW)
    assert verdict is not None
    assert verdict[0] is Kind.NOT_HU
    assert words in verdict[1]


def test_a_scan_cut_to_a_wider_window_is_noted() -> None:
    verdict = judge_values(Values(low=-200, high=400, kidney_median=150.0), WINDOW)
    assert verdict == (Kind.WINDOWED, "values from -200 to 400: no air")


@pytest.mark.parametrize(
    ("low", "high", "median"),
    [
        (-1024, 3071, 27.0),  # without contrast
        (-1000, 1400, 230.0),  # nephrographic phase
        (-1024, 3071, -40.0),  # a fatty tumour
        (-1024, 900, None),  # nothing labelled
    ],
)
def test_hu_pass(low: int, high: int, median: float | None) -> None:
    assert judge_values(Values(low=low, high=high, kidney_median=median), WINDOW) is None


def test_values_are_measured() -> None:
    scan = np.array([-1000, 40, 1200], np.int16).reshape(3, 1, 1)
    kidney = np.array([30, 31, 900], np.int16)
    assert measure_values(scan, kidney) == Values(low=-1000, high=1200, kidney_median=31.0)
    assert measure_values(scan, kidney[:0]).kidney_median is None
    assert measure_values(scan, None).kidney_median is None
