"""Right and left by component and side: one kidney, joined ones, one off its side, real maps."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kidneyseg.ct.laterality import LEFT, RIGHT, Arrangement, split_sides
from kidneyseg.ct.volumes import Geometry, read_geometry, read_labels, write_kits19_case
from tests.machine import KITS19_LABELS, needs_kits19_labels

SHAPE = (30, 50, 100)  # slices, rows, columns of 4 mm: 200 mm to either side of the midline
SPACING_MM = (4.0, 4.0, 4.0)


@pytest.fixture(scope="module")
def geometry(tmp_path_factory: pytest.TempPathFactory) -> Geometry:
    folder = tmp_path_factory.mktemp("case")
    empty = np.zeros(SHAPE)
    write_kits19_case(folder, empty.astype(np.int16), empty.astype(np.uint8), SPACING_MM)
    return read_geometry(folder / "imaging.nii.gz")


def boxes(*column_ranges: tuple[int, int], rows: slice = np.s_[20:30]) -> NDArray[np.uint8]:
    """Boxes of 10 slices and 10 rows over columns."""
    mask = np.zeros(SHAPE, np.uint8)
    for first, last in column_ranges:
        mask[10:20, rows, first:last] = 1
    return mask


def test_two_kidneys_are_parted_with_their_volumes(geometry: Geometry) -> None:
    sides = split_sides(boxes((20, 35), (65, 75)), geometry)
    assert sides.arrangement is Arrangement.TWO
    assert (sides.mask[:, :, :50] == boxes((20, 35))[:, :, :50] * RIGHT).all()
    assert (sides.mask[:, :, 50:] == boxes((65, 75))[:, :, 50:] * LEFT).all()
    assert sides.right_ml == pytest.approx(1500 * 0.064)
    assert sides.left_ml == pytest.approx(1000 * 0.064)


def test_masks_of_truth_values_do_too(geometry: Geometry) -> None:
    mask = boxes((20, 35), (65, 75))
    expected = split_sides(mask, geometry).mask
    np.testing.assert_array_equal(split_sides(mask == 1, geometry).mask, expected)


@pytest.mark.parametrize("columns", [((52, 62), (80, 92)), ((5, 15), (30, 44))])
def test_two_kidneys_on_one_side_of_the_midline_are_still_right_and_left(
    geometry: Geometry, columns: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    sides = split_sides(boxes(*columns), geometry)
    assert sides.arrangement is Arrangement.TWO
    assert (sides.mask[boxes(columns[0]) == 1] == RIGHT).all()
    assert (sides.mask[boxes(columns[1]) == 1] == LEFT).all()


@pytest.mark.parametrize(("columns", "side"), [((20, 35), RIGHT), ((65, 80), LEFT)])
def test_one_kidney_with_a_tumour_apart_is_one_side(
    geometry: Geometry, columns: tuple[int, int], side: int
) -> None:
    tumour = boxes((columns[0], columns[0] + 9), rows=np.s_[35:45])
    sides = split_sides(boxes(columns) | tumour, geometry)
    assert sides.arrangement is Arrangement.ONE
    assert set(np.unique(sides.mask)) == {0, side}
    assert (sides.right_ml > 0, sides.left_ml > 0) == (side == RIGHT, side == LEFT)


def test_joined_kidneys_are_parted_where_the_bridge_is_thinnest(geometry: Geometry) -> None:
    mask = boxes((25, 40), (62, 76))
    mask[14:16, 24:26, 40:62] = 1
    mask[15, 24:26, 55:57] = 0  # thinnest at columns 55 and 56
    sides = split_sides(mask, geometry)
    assert sides.arrangement is Arrangement.JOINED
    assert (sides.mask[:, :, :55][mask[:, :, :55] == 1] == RIGHT).all()
    assert (sides.mask[:, :, 57:][mask[:, :, 57:] == 1] == LEFT).all()
    assert sides.right_ml + sides.left_ml == pytest.approx(mask.sum() * 0.064)


def test_a_speck_goes_with_the_nearer_kidney(geometry: Geometry) -> None:
    mask = boxes((20, 35), (65, 75))
    mask[0, 0, 52] = mask[12, 25, 45] = 1
    sides = split_sides(mask, geometry)
    assert sides.mask[0, 0, 52] == LEFT
    assert sides.mask[12, 25, 45] == RIGHT


def test_an_empty_mask_has_no_kidney(geometry: Geometry) -> None:
    sides = split_sides(np.zeros(SHAPE, np.uint8), geometry)
    assert sides.arrangement is Arrangement.NONE
    assert not sides.mask.any()
    assert (sides.right_ml, sides.left_ml) == (0, 0)


@pytest.mark.slow
@needs_kits19_labels
@pytest.mark.parametrize(
    ("case", "arrangement", "left_only"),
    [
        (5, Arrangement.ONE, True),
        (165, Arrangement.ONE, False),
        (151, Arrangement.JOINED, None),
        (40, Arrangement.TWO, None),
        (0, Arrangement.TWO, None),
    ],
)
def test_odd_cases_of_kits19(case: int, arrangement: Arrangement, left_only: bool | None) -> None:
    labels = read_labels(KITS19_LABELS / f"case_{case:05d}" / "segmentation.nii.gz")
    sides = split_sides(labels.array, labels.geometry)
    assert sides.arrangement is arrangement
    if left_only is None:
        assert min(sides.right_ml, sides.left_ml) > 90  # the smallest of KiTS19 has 91 ml
    else:
        assert (sides.left_ml > 0, sides.right_ml > 0) == (left_only, not left_only)
