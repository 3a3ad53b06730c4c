"""Which slices are kept, and what they hold."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from kidneyseg.ct.cases import Case, CaseVolumes, read_case
from kidneyseg.ct.preparation import LABEL_SCALE, prepare_slices, slices_near_kidney
from kidneyseg.settings import DataSettings


def prepared_settings(**changed: object) -> DataSettings:
    values = {"downsampling": 2, "slice_size": (16, 16), "margin_slices": 1, **changed}
    return DataSettings.model_validate(values)


@pytest.fixture
def case(write_case: Callable[..., Case]) -> CaseVolumes:
    return read_case(write_case(), (1, 2))


def with_kidney(case: CaseVolumes, kidney: NDArray[np.bool_]) -> CaseVolumes:
    scan = np.zeros(kidney.shape, np.int16)
    return CaseVolumes(scan_hu=scan, kidney=kidney, geometry=case.geometry)


@pytest.mark.parametrize(
    ("margin", "first", "end"), [(0, 3, 6), (1, 2, 7), (2, 1, 8), (3, 0, 9), (20, 0, 9)]
)
def test_the_margin_ends_with_the_scan(margin: int, first: int, end: int) -> None:
    kidney = np.zeros((9, 2, 2), np.bool_)
    kidney[[3, 5], 0, 1] = True
    assert slices_near_kidney(kidney, margin) == slice(first, end)


def test_a_kidney_on_the_first_and_last_slice_keeps_all() -> None:
    kidney = np.zeros((4, 2, 2), np.bool_)
    kidney[[0, 3]] = True
    assert slices_near_kidney(kidney, 0) == slice(0, 4)


def test_slices_are_halved_and_cut_to_the_margin(case: CaseVolumes) -> None:
    prepared = prepare_slices(case, prepared_settings())
    assert prepared.images.shape == prepared.labels.shape == (5, 10, 12)
    assert prepared.images.dtype == np.int16
    assert prepared.labels.dtype == np.uint8
    assert prepared.first_slice == 2
    assert prepared.spacing_mm == pytest.approx((3.0, 1.6, 1.4))


def test_images_are_the_rounded_mean_of_their_pixels(case: CaseVolumes) -> None:
    prepared = prepare_slices(case, prepared_settings())
    blocks = case.scan_hu[2:7].reshape(5, 10, 2, 12, 2).mean((2, 4))
    np.testing.assert_array_equal(prepared.images, np.rint(blocks))


def test_labels_hold_kidney_and_tumour_as_a_share(case: CaseVolumes) -> None:
    """Rows 5 to 10 and columns 4 to 11: the first and last row of pixels are half kidney."""
    labels = prepare_slices(case, prepared_settings()).labels / LABEL_SCALE
    expected = np.zeros((10, 12))
    expected[2:6, 2:6] = np.array([0.5, 1, 1, 0.5])[:, None]
    for shown in labels[1:4]:
        np.testing.assert_array_equal(shown, expected)
    assert not labels[[0, 4]].any()


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_labels_lose_nothing_at_any_downsampling(case: CaseVolumes, factor: int) -> None:
    kidney = np.random.default_rng(0).random((3, 24, 36)) < 0.4
    settings = prepared_settings(downsampling=factor)
    labels = prepare_slices(with_kidney(case, kidney), settings).labels
    counts = kidney.reshape(3, 24 // factor, factor, 36 // factor, factor).sum((2, 4))
    assert LABEL_SCALE % factor**2 == 0
    np.testing.assert_array_equal(labels, counts * (LABEL_SCALE // factor**2))


def test_a_full_pixel_is_the_scale_exactly(case: CaseVolumes) -> None:
    kidney = np.ones((3, 25, 37), np.bool_)
    settings = prepared_settings(downsampling=None, spacing_mm=2.1)
    labels = prepare_slices(with_kidney(case, kidney), settings).labels
    assert (labels == LABEL_SCALE).all()


def test_a_target_spacing_is_the_spacing_of_the_slices(case: CaseVolumes) -> None:
    settings = prepared_settings(downsampling=None, spacing_mm=2.0)
    prepared = prepare_slices(case, settings)
    assert prepared.spacing_mm == pytest.approx((3.0, 2.0, 2.0))
    assert prepared.images.shape == (5, 8, 9)  # 20 x 0.8 mm, 24 x 0.7 mm


@pytest.mark.parametrize(("margin_mm", "n_slices"), [(0, 3), (2.9, 3), (3, 5), (8.9, 7), (9, 9)])
def test_a_margin_in_millimetres_counts_whole_slices(
    case: CaseVolumes, margin_mm: float, n_slices: int
) -> None:
    """Slices of 3 mm, the kidney on slices 3 to 5 of 9; margin_slices no longer counts."""
    prepared = prepare_slices(case, prepared_settings(margin_mm=margin_mm, margin_slices=0))
    assert len(prepared.images) == n_slices
