"""Right and left by component and side: one kidney, joined ones, one off its side, real maps."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kidneyseg.ct.laterality import Arrangement, Side, part_sides, split_sides
from kidneyseg.ct.volumes import Geometry, read_geometry, read_labels, write_kits19_case
from tests.machine import KITS19_LABELS, needs_kits19_labels

RIGHT, LEFT = Side
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


def part(mask: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Arrangement]:
    return part_sides(mask, SPACING_MM, (SHAPE[2] - 1) / 2)


def test_a_box_is_parted_as_the_whole_scan() -> None:
    mask = boxes((52, 62), (80, 92))
    box = np.s_[8:22, 15:35, 40:]
    whole, _ = part(mask)
    cut, _ = part_sides(mask[box], SPACING_MM, (SHAPE[2] - 1) / 2 - 40)
    np.testing.assert_array_equal(cut, whole[box])
    out = np.full(mask[box].shape, 9, np.uint8)  # all of it is written
    given, _ = part_sides(mask[box], SPACING_MM, (SHAPE[2] - 1) / 2 - 40, out=out)
    assert given is out
    np.testing.assert_array_equal(out, cut)


def test_a_voxel_on_the_other_side_of_one_kidney_is_its_own() -> None:
    mask = boxes((20, 35))
    mask[0, 0, 75] = 1
    sides, arrangement = part(mask)
    assert arrangement is Arrangement.ONE
    np.testing.assert_array_equal(sides, mask * RIGHT)


def test_two_kidneys_52_mm_apart_on_one_side_are_one_each() -> None:
    first, second = (52, 60), (65, 73)  # centres at columns 55.5 and 68.5
    sides, arrangement = part(boxes(first, second))
    assert arrangement is Arrangement.TWO
    np.testing.assert_array_equal(sides, boxes(first) * RIGHT + boxes(second) * LEFT)


def test_a_tumour_that_reaches_across_the_midline_is_not_cut() -> None:
    right = boxes((20, 40))
    right[12:18, 32:44, 38:65] = 1  # 60 mm past the midline, beside the other kidney
    right[12:18, 28:33, 38:40] = 1
    left = boxes((70, 85))
    sides, arrangement = part(right | left)
    assert arrangement is Arrangement.TWO
    np.testing.assert_array_equal(sides, right * RIGHT + left * LEFT)


def test_two_parts_of_one_kidney_stay_together() -> None:
    sides, arrangement = part(boxes((72, 80), (81, 88)))
    assert arrangement is Arrangement.ONE
    assert set(np.unique(sides)) == {0, LEFT}


def test_one_thin_column_is_the_last_of_the_right_kidney() -> None:
    mask = boxes((15, 30), (70, 85))
    mask[12:14, 22:26, 30:70] = 1
    mask[12:14, 22:25, 44] = 0
    sides, arrangement = part(mask)
    assert arrangement is Arrangement.JOINED
    np.testing.assert_array_equal(sides[:, :, :45], mask[:, :, :45] * RIGHT)
    np.testing.assert_array_equal(sides[:, :, 45:], mask[:, :, 45:] * LEFT)


@pytest.mark.slow
@needs_kits19_labels
@pytest.mark.parametrize(
    ("case", "arrangement", "right_ml", "left_ml"),
    [
        (5, Arrangement.ONE, 0, 490),
        (165, Arrangement.ONE, 343, 0),
        (151, Arrangement.JOINED, 277, 409),
        (40, Arrangement.TWO, 164, 199),  # a pelvic one across the midline
    ],
)
def test_odd_cases_of_kits19(
    case: int, arrangement: Arrangement, right_ml: int, left_ml: int
) -> None:
    labels = read_labels(KITS19_LABELS / f"case_{case:05d}" / "segmentation.nii.gz")
    sides = split_sides(labels.array, labels.geometry)
    assert sides.arrangement is arrangement
    assert (round(sides.right_ml), round(sides.left_ml)) == (right_ml, left_ml)
