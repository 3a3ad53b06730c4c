"""A prediction is parted as the truth is, and each kidney judged against its own."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kidneyseg.ct.laterality import Arrangement, Side, split_sides
from kidneyseg.ct.volumes import Volume, read_geometry, read_labels, write_kits19_case
from kidneyseg.evaluation.masks import cut_masks, cut_volumes
from kidneyseg.evaluation.matching import match_sides
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


def test_nothing_predicted_misses_both() -> None:
    matched = match_sides(cut_masks(kidneys(RIGHT, LEFT), kidneys(), SPACING_MM))
    assert not matched.predicted.any()
    assert (matched.missed_kidneys, matched.false_kidneys) == (2, 0)


def check_same_volumes(volume: Volume[np.bool_]) -> Arrangement:
    """Part a mask as `predict --sides` does, and as `evaluate` does truth and prediction."""
    written = split_sides(volume.array, volume.geometry)
    matched = match_sides(cut_volumes(volume, volume))
    told_ml = [written.right_ml, written.left_ml]
    for sides in (matched.truth, matched.predicted):
        found_ml = [np.count_nonzero(sides == side) * volume.geometry.voxel_ml for side in Side]
        assert found_ml == told_ml
    assert (matched.missed_kidneys, matched.false_kidneys) == (0, 0)
    return written.arrangement


BRIDGE = (30, 70)


@pytest.mark.parametrize(
    ("columns", "bridge", "arrangement"),
    [
        ((), None, Arrangement.NONE),
        ((LEFT,), None, Arrangement.ONE),
        ((RIGHT, LEFT), None, Arrangement.TWO),
        (((52, 60), (65, 73)), None, Arrangement.TWO),  # both left of the midline, 52 mm apart
        ((RIGHT, LEFT), BRIDGE, Arrangement.JOINED),
    ],
)
def test_predict_and_evaluate_tell_the_same_volumes(
    tmp_path: Path,
    columns: tuple[tuple[int, int], ...],
    bridge: tuple[int, int] | None,
    arrangement: Arrangement,
) -> None:
    mask = kidneys(*columns)
    if bridge is not None:
        mask[9:11, 24:26, bridge[0] : bridge[1]] = True
    if columns:
        mask[0, 0, 48] = mask[19, 59, 99] = True  # specks
    write_kits19_case(tmp_path, mask.astype(np.int16), mask.astype(np.uint8), SPACING_MM)
    geometry = read_geometry(tmp_path / "imaging.nii.gz")
    assert check_same_volumes(Volume(array=mask, geometry=geometry)) is arrangement


@pytest.mark.slow
@needs_kits19_labels
@pytest.mark.parametrize(
    ("case", "arrangement"),
    [
        (0, Arrangement.TWO),
        (5, Arrangement.ONE),
        (40, Arrangement.TWO),  # a pelvic one across the midline
        (151, Arrangement.JOINED),
        (165, Arrangement.ONE),
    ],
)
def test_they_do_on_label_maps_of_kits19(case: int, arrangement: Arrangement) -> None:
    labels = read_labels(KITS19_LABELS / f"case_{case:05d}" / "segmentation.nii.gz")
    volume = Volume(array=labels.array > 0, geometry=labels.geometry)
    assert check_same_volumes(volume) is arrangement
