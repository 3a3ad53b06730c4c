"""Right and left: by part and side, with one kidney, joined ones, and one off its side."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kidneyseg.ct.volumes import read_labels
from kidneyseg.evaluation import parts
from kidneyseg.evaluation.laterality import Side, find_sides, match_sides
from kidneyseg.evaluation.masks import cut_masks
from tests.machine import KITS19_LABELS, needs_kits19_labels

Mask = NDArray[np.bool_]

SPACING_MM = (5.0, 4.0, 4.0)
SHAPE = (20, 60, 100)  # columns lie from -198 to 198 mm of the midline
RIGHT, LEFT = (15, 30), (70, 85)  # columns
SPLEEN = (90, 98)


def kidneys(*columns: tuple[int, int]) -> Mask:
    """Boxes of 8 slices, 10 rows and the columns given: 96 ml at 15 columns."""
    mask = np.zeros(SHAPE, np.bool_)
    for first, last in columns:
        mask[6:14, 20:30, first:last] = True
    return mask


def sides_at(sides: NDArray[np.uint8]) -> dict[int, tuple[int, int]]:
    """The columns of each side: the first, and the one after the last."""
    found = {}
    for side in Side:
        columns = np.flatnonzero((sides == side).any(axis=(0, 1)))
        if columns.size:
            found[int(side)] = (int(columns[0]), int(columns[-1]) + 1)
    return found


def test_columns_grow_to_the_left() -> None:
    assert sides_at(find_sides(kidneys(RIGHT, LEFT), SPACING_MM)) == {1: RIGHT, 2: LEFT}


@pytest.mark.parametrize("columns", [RIGHT, LEFT])
def test_one_kidney_has_one_side(columns: tuple[int, int]) -> None:
    side = 1 if columns == RIGHT else 2
    assert sides_at(find_sides(kidneys(columns), SPACING_MM)) == {side: columns}


def test_of_two_kidneys_on_one_side_each_has_its_own() -> None:
    """Centres 80 mm apart, both left of the midline."""
    pelvic = (52, 64)
    assert sides_at(find_sides(kidneys(pelvic, (72, 84)), SPACING_MM)) == {1: pelvic, 2: (72, 84)}


def test_two_parts_of_one_kidney_stay_together() -> None:
    found = find_sides(kidneys((72, 80), (81, 88)), SPACING_MM)
    assert sides_at(found) == {2: (72, 88)}


def test_joined_kidneys_are_cut_where_they_are_thinnest() -> None:
    mask = kidneys(RIGHT, LEFT)
    mask[8:10, 20:24, 30:70] = True
    mask[8:9, 20:22, 44] = True
    mask[8:10, 22:24, 44] = False
    mask[9, 20:24, 44] = False
    found = sides_at(find_sides(mask, SPACING_MM))
    assert found == {1: (15, 45), 2: (45, 85)}


def test_a_speck_goes_with_the_nearest_kidney() -> None:
    mask = kidneys(RIGHT)
    mask[0, 0, 55] = True  # across the midline, with no kidney there
    assert set(np.unique(find_sides(mask, SPACING_MM))) == {0, 1}


def test_an_empty_mask_has_no_sides() -> None:
    assert not find_sides(np.zeros(SHAPE, np.bool_), SPACING_MM).any()


def test_a_prediction_is_parted_as_the_truth() -> None:
    """What is predicted in the right kidney's place is the right kidney's."""
    truth, predicted = kidneys(RIGHT, LEFT), kidneys((14, 28), (71, 86))
    matched = match_sides(cut_masks(truth, predicted, SPACING_MM))
    columns = sides_at(matched.predicted)  # counted from the box's first column, 14
    assert columns == {1: (0, 14), 2: (57, 72)}
    assert (matched.missed_kidneys, matched.false_kidneys) == (0, 0)


def test_a_prediction_that_joins_two_kidneys_is_cut_between_them() -> None:
    matched = match_sides(cut_masks(kidneys(RIGHT, LEFT), kidneys((15, 85)), SPACING_MM))
    assert sides_at(matched.predicted) == {1: (0, 35), 2: (35, 70)}


def test_what_no_kidney_is_near_is_a_false_one_on_its_side() -> None:
    matched = match_sides(cut_masks(kidneys(RIGHT), kidneys(RIGHT, SPLEEN), SPACING_MM))
    assert matched.false_kidneys == 1
    assert sides_at(matched.predicted) == {1: (0, 15), 2: (75, 83)}
    assert sides_at(matched.truth) == {1: (0, 15)}


def test_a_speck_is_no_false_kidney() -> None:
    predicted = kidneys(RIGHT)
    predicted[0, 0, 0] = True
    assert match_sides(cut_masks(kidneys(RIGHT), predicted, SPACING_MM)).false_kidneys == 0


def test_a_kidney_of_which_almost_nothing_is_found_is_missed() -> None:
    truth = kidneys(RIGHT, LEFT)
    for found, missed in (((70, 71), 1), ((70, 73), 0)):
        masks = cut_masks(truth, kidneys(RIGHT, found), SPACING_MM)
        assert match_sides(masks).missed_kidneys == missed


def test_of_a_box_too_large_to_number_pixels_stand_for_their_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    masks = cut_masks(kidneys(RIGHT, LEFT), kidneys((16, 31), (71, 85)), SPACING_MM)
    expected = match_sides(masks)
    monkeypatch.setattr(parts, "MOST_VOXELS", masks.truth.size // 3)
    thinned = match_sides(masks)
    np.testing.assert_array_equal(thinned.truth, expected.truth)
    np.testing.assert_array_equal(thinned.predicted, expected.predicted)


@pytest.mark.slow
@needs_kits19_labels
@pytest.mark.parametrize(
    ("name", "right_ml", "left_ml"),
    [
        ("case_00005", 0, 490),  # one kidney
        ("case_00165", 343, 0),  # one kidney
        ("case_00040", 164, 199),  # a pelvic one across the midline
        ("case_00151", 277, 409),  # joined
    ],
)
def test_the_odd_cases_of_kits19(name: str, right_ml: int, left_ml: int) -> None:
    volume = read_labels(KITS19_LABELS / name / "segmentation.nii.gz")
    kidney = volume.array > 0
    masks = cut_masks(kidney, kidney, volume.geometry.spacing_mm)
    sides = find_sides(masks.truth, masks.spacing_mm, masks.middle)
    volumes_ml = [round((sides == side).sum() * masks.voxel_ml) for side in Side]
    assert volumes_ml == [right_ml, left_ml]
