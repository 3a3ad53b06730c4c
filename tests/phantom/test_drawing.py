"""What a drawn case promises: KiTS19's form and sizes, the same bytes again, a task not trivial."""

import hashlib
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from kidneyseg.errors import DataError, SettingsError
from kidneyseg.phantom.drawing import Phantom, PhantomSize, draw_phantom, draw_phantom_around

CASES = 3


@pytest.fixture(scope="module")
def small() -> list[Phantom]:
    return [draw_phantom(0, case, PhantomSize.SMALL) for case in range(CASES)]


def digest(phantom: Phantom) -> str:
    content = phantom.image.tobytes() + phantom.labels.tobytes() + repr(phantom.spacing_mm).encode()
    return hashlib.sha256(content).hexdigest()


def two_balls(rows: int, columns: int) -> NDArray[np.uint8]:
    """Labels of two round kidneys, the left one with a tumour, at 2.5 mm pixels, 5 mm slices."""
    down, row, column = np.ogrid[:20, :rows, :columns]
    labels = np.zeros((20, rows, columns), np.uint8)
    for side in (-1, 1):
        away = np.sqrt(
            (5.0 * (down - 10)) ** 2
            + (2.5 * (row - rows // 2)) ** 2
            + (2.5 * (column - columns // 2) - side * 68) ** 2
        )
        labels[away < 30] = 1
        labels[away < 12 * (side > 0)] = 2
    return labels


def test_small_is_small_enough_for_a_laptop(small: list[Phantom]) -> None:
    for phantom in small:
        slices, rows, columns = phantom.image.shape
        assert 28 <= slices <= 45
        assert (rows, columns) == (192, 192)
        assert 3 <= phantom.spacing_mm[0] <= 5
        assert 224 <= phantom.spacing_mm[2] * columns <= 533


def test_types_and_values_are_those_of_kits19(small: list[Phantom]) -> None:
    for phantom in small:
        assert phantom.image.dtype == np.int16
        assert phantom.labels.dtype == np.uint8
        assert phantom.labels.shape == phantom.image.shape
        assert set(np.unique(phantom.labels)) == {0, 1, 2}
        assert -3024 <= phantom.image.min() <= -990
        assert 350 < phantom.image.max() <= 3071


def test_kidneys_and_tumours_have_the_sizes_of_kits19(small: list[Phantom]) -> None:
    for phantom in small:
        ml = np.prod(phantom.spacing_mm) / 1000
        assert 91 <= (phantom.labels == 1).sum() * ml <= 765
        assert 0.5 <= (phantom.labels == 2).sum() * ml <= 1464


def test_slices_without_kidney_lie_above_and_below(small: list[Phantom]) -> None:
    for phantom in small:
        labelled = np.array([plane.any() for plane in phantom.labels])
        assert not labelled[0]
        assert not labelled[-1]
        assert labelled.mean() > 0.5


def test_axes_grow_to_inferior_posterior_left(small: list[Phantom]) -> None:
    """The spine lies behind; the liver, right and above, is the largest soft organ."""
    for phantom in small:
        rows, columns = phantom.image.shape[1:]
        bone = np.argwhere(phantom.image > 390)  # brighter than contrast in the bowel
        middle = bone[abs(bone[:, 2] - columns / 2) < columns / 10]
        assert np.median(middle[:, 1]) > 0.55 * rows
        soft = ndimage.binary_opening((phantom.image > 60) & (phantom.image < 160), iterations=2)
        upper = soft[: len(soft) // 3]
        assert upper[:, :, : columns // 2].sum() > 1.3 * upper[:, :, columns // 2 :].sum()
        assert soft[len(soft) // 2 :].sum() < soft[: len(soft) // 2].sum()


def test_the_same_numbers_give_the_same_bytes_in_another_process(small: list[Phantom]) -> None:
    program = (
        "import hashlib;"
        "from kidneyseg.phantom.drawing import PhantomSize, draw_phantom;"
        "p = draw_phantom(0, 2, PhantomSize.SMALL);"
        "c = p.image.tobytes() + p.labels.tobytes() + repr(p.spacing_mm).encode();"
        "print(hashlib.sha256(c).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == digest(small[2])


def test_seed_and_case_number_both_matter(small: list[Phantom]) -> None:
    drawn = {digest(draw_phantom(1, 0, PhantomSize.SMALL)), *(digest(p) for p in small)}
    assert len(drawn) == CASES + 1


def best_threshold_dice(image: NDArray[np.int16], truth: NDArray[np.bool_]) -> float:
    """The Dice of the best range of HU, chosen with the truth at hand, in steps of 5 HU."""
    bins = np.clip((image.astype(int) + 100) // 5, 0, 89)
    inside = np.cumsum(np.bincount(bins[truth], minlength=90))
    everywhere = np.cumsum(np.bincount(bins.ravel(), minlength=90))
    lower, upper = np.triu_indices(90, 1)
    hit, taken = inside[upper] - inside[lower], everywhere[upper] - everywhere[lower]
    return float((2 * hit / (taken + truth.sum())).max())


def test_no_brightness_threshold_solves_the_task(small: list[Phantom]) -> None:
    dice = [best_threshold_dice(phantom.image, phantom.labels > 0) for phantom in small]
    assert np.mean(dice) < 0.45
    assert max(dice) < 0.6


def test_kidney_is_enhanced_and_its_surroundings_are_mostly_fat(small: list[Phantom]) -> None:
    for phantom in small:
        kidney = phantom.labels == 1
        assert 80 < np.median(phantom.image[kidney]) < 200
        rim = ndimage.binary_dilation(kidney, iterations=2) & ~ndimage.binary_dilation(kidney)
        assert (phantom.image[rim] < -30).mean() > 0.2  # the kidney can be seen
        assert (phantom.image[rim] > 30).mean() > 0.1  # and yet it is touched


@pytest.mark.slow
def test_drawing_holds_little_more_than_the_result() -> None:
    tracemalloc.start()
    phantom = draw_phantom(0, 0, PhantomSize.SMALL)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    float_slice = 4 * 192 * 192
    assert peak < phantom.image.nbytes + phantom.labels.nbytes + 40 * float_slice


@pytest.mark.slow
def test_full_has_the_size_of_kits19() -> None:
    phantom = draw_phantom(0, 12, PhantomSize.FULL)
    assert phantom.image.shape[1:] == (512, 512)
    assert 29 <= len(phantom.image) <= 1059
    assert set(np.unique(phantom.labels)) == {0, 1, 2}


@pytest.mark.parametrize("number", [-1, -7])
def test_negative_numbers_are_refused_by_name(number: int) -> None:
    with pytest.raises(SettingsError, match=f"phantom {number} of seed 0: both must be 0 or more"):
        draw_phantom(0, number, PhantomSize.SMALL)


def test_around_labels_keeps_them_to_the_voxel() -> None:
    labels = two_balls(144, 160)
    phantom = draw_phantom_around(labels, (5.0, 2.5, 2.5), 0, 0)
    np.testing.assert_array_equal(phantom.labels, labels)
    assert phantom.spacing_mm == (5.0, 2.5, 2.5)
    assert phantom.image.dtype == np.int16


def test_around_labels_the_scan_shows_the_kidneys_where_they_are() -> None:
    labels = two_balls(160, 160)
    phantom = draw_phantom_around(labels, (5.0, 2.5, 2.5), 0, 0)
    kidney = ndimage.binary_erosion(labels == 1)
    assert 80 < np.median(phantom.image[kidney]) < 200
    around = ndimage.binary_dilation(labels > 0, iterations=3)
    around &= ~ndimage.binary_dilation(labels > 0, iterations=1)
    assert np.median(phantom.image[around]) < np.percentile(phantom.image[kidney], 10)


def test_around_labels_the_same_numbers_give_the_same_bytes() -> None:
    labels = two_balls(144, 144)
    first, again, other = (
        draw_phantom_around(labels, (5.0, 2.5, 2.5), 0, case) for case in (2, 2, 3)
    )
    assert digest(first) == digest(again) != digest(other)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 32, 32), np.uint8), "label map without a label"),
        (np.ones((32, 32), np.uint8), r"label map of shape \(32, 32\): expected three axes"),
    ],
)
def test_label_maps_that_cannot_be_drawn_around_are_refused(
    labels: NDArray[Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        draw_phantom_around(labels, (5.0, 2.5, 2.5), 0, 0)
