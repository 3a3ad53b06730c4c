"""Odd but right: what label maps of blocks say about their kidneys. Voxels of 5 mm, 0.125 ml."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from kidneyseg.ct import anatomy
from kidneyseg.ct.anatomy import count_labels, cut_to_labels, find_parts, note_anatomy
from kidneyseg.ct.findings import Kind
from kidneyseg.ct.volumes import Volume, read_labels, write_kits19_case

SHAPE = (12, 30, 41)  # slices, rows, columns; the midline is column 20
RIGHT, LEFT = np.s_[3:8, 10:16, 4:10], np.s_[3:8, 10:16, 31:37]  # 180 voxels, 22.5 ml each
VOXEL_ML = 0.125

Block = tuple[slice, slice, slice]


def draw(*blocks: Block, tumour: Block | None = None) -> NDArray[np.uint8]:
    labels = np.zeros(SHAPE, np.uint8)
    for block in blocks:
        labels[block] = 1
    if tumour is not None:
        labels[tumour] = 2
    return labels


def stored(folder: Path, labels: NDArray[np.uint8]) -> Volume[np.uint8]:
    write_kits19_case(folder, labels.astype(np.int16), labels, spacing_mm=(5.0, 5.0, 5.0))
    return read_labels(folder / "segmentation.nii.gz")


def notes(
    folder: Path, labels: NDArray[np.uint8], tumor_labels: tuple[int, ...] = (2,)
) -> dict[Kind, str]:
    return dict(note_anatomy(cut_to_labels(stored(folder, labels)), (1, 2), tumor_labels))


def test_two_kidneys_in_their_places_are_nothing_to_note(tmp_path: Path) -> None:
    assert notes(tmp_path, draw(RIGHT, LEFT, tumour=np.s_[3:6, 10:13, 4:7])) == {}


def test_one_kidney(tmp_path: Path) -> None:
    assert notes(tmp_path, draw(LEFT)) == {Kind.ONE_KIDNEY: "22 ml on the left"}


def test_specks_are_no_second_kidney(tmp_path: Path) -> None:
    speck = np.s_[3:6, 3:6, 34:38]  # 36 voxels, 4.5 ml
    assert list(notes(tmp_path, draw(RIGHT, speck))) == [Kind.ONE_KIDNEY]


def test_a_tumour_apart_from_the_only_kidney_is_no_second_kidney(tmp_path: Path) -> None:
    apart = np.s_[3:8, 20:26, 2:10]
    assert notes(tmp_path, draw(RIGHT, apart)) == {Kind.ONE_KIDNEY: "52 ml on the right"}


def test_joined_kidneys_are_neither_one_nor_across_the_midline(tmp_path: Path) -> None:
    isthmus = np.s_[7:8, 12:14, 10:31]
    assert notes(tmp_path, draw(RIGHT, LEFT, isthmus)) == {
        Kind.JOINED: "one part reaches 80 mm to the right of the image's midline and 80 mm to "
        "the left"
    }


def test_parts_that_touch_only_by_edges_are_not_joined(tmp_path: Path) -> None:
    middle = np.s_[8:9, 10:16, 10:31]  # below both kidneys, each meeting it along an edge
    assert Kind.JOINED not in notes(tmp_path, draw(RIGHT, LEFT, middle))


def test_a_pelvic_kidney_lies_across_the_midline(tmp_path: Path) -> None:
    pelvic = np.s_[8:12, 20:26, 14:23]  # 6 columns to the right, 2 to the left of the middle
    assert notes(tmp_path, draw(LEFT, pelvic))[Kind.ACROSS_MIDLINE] == (
        "one part has 18 ml to the right of the image's midline and 6 ml to the left"
    )


def test_a_single_pelvic_kidney_is_both(tmp_path: Path) -> None:
    found = notes(tmp_path, draw(np.s_[2:9, 10:20, 14:25]))
    assert set(found) == {Kind.ONE_KIDNEY, Kind.ACROSS_MIDLINE}


def test_a_kidney_that_just_touches_the_midline_lies_on_its_side(tmp_path: Path) -> None:
    wide = np.s_[3:8, 10:16, 4:22]  # one column beyond: 30 voxels, 3.75 ml
    assert notes(tmp_path, draw(wide, LEFT)) == {}


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (0, 6, {Kind.FIRST_SLICE: "kidney on the topmost of 12 slices"}),
        (6, 12, {Kind.LAST_SLICE: "kidney on the lowest of 12 slices"}),
        (1, 11, {}),
    ],
)
def test_a_field_of_view_that_ends_in_the_kidney(
    tmp_path: Path, first: int, last: int, expected: dict[Kind, str]
) -> None:
    assert notes(tmp_path, draw(RIGHT, np.s_[first:last, 10:16, 31:37])) == expected


@pytest.mark.parametrize(
    ("n_tumour", "expected"),
    [
        (44, {}),  # 44 / 360 = 0.1222
        (45, {Kind.LARGE_TUMOUR: "tumour is 0.1250 of kidney and tumour, above 0.1225"}),
    ],
)
def test_a_large_tumour(tmp_path: Path, n_tumour: int, expected: dict[Kind, str]) -> None:
    labels = draw(RIGHT, LEFT)
    right = np.argwhere(labels[:, :, :20])[:n_tumour]
    labels[tuple(right.T)] = 2
    assert notes(tmp_path, labels) == expected


def test_which_labels_are_tumour_is_said(tmp_path: Path) -> None:
    labels = draw(RIGHT)
    labels[LEFT] = 2  # here the left kidney
    halves = {Kind.LARGE_TUMOUR: "tumour is 0.5000 of kidney and tumour, above 0.1225"}
    assert notes(tmp_path, labels, tumor_labels=()) == {}
    assert notes(tmp_path, labels, tumor_labels=(3,)) == {}
    assert notes(tmp_path, labels, tumor_labels=(1,)) == halves
    assert notes(tmp_path, labels, tumor_labels=(2, 3)) == halves


def test_tumour_that_is_no_kidney_is_part_of_the_whole(tmp_path: Path) -> None:
    labels = draw(RIGHT, LEFT, tumour=np.s_[3:8, 20:26, 4:10])  # as large as a kidney
    found = dict(note_anatomy(cut_to_labels(stored(tmp_path, labels)), (1,), (2,)))
    assert found[Kind.LARGE_TUMOUR].startswith("tumour is 0.3333 of kidney and tumour")


def test_the_box_holds_all_labels_and_says_where_it_lies(tmp_path: Path) -> None:
    labels = draw(RIGHT, tumour=np.s_[1:2, 20:21, 40:41])
    box = cut_to_labels(stored(tmp_path, labels))
    assert (box.first, box.labels.shape) == ((1, 10, 4), (7, 11, 37))
    np.testing.assert_array_equal(box.labels, labels[box.place])
    assert count_labels(box)[:3].tolist() == [box.labels.size - 181, 180, 1]


def test_an_empty_label_map_gives_an_empty_box(tmp_path: Path) -> None:
    box = cut_to_labels(stored(tmp_path, draw()))
    assert box.labels.size == 0
    assert count_labels(box).sum() == 0


def test_parts_are_those_that_scipy_finds(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    kidney = ndimage.gaussian_filter(random.normal(size=SHAPE), 2) > 0.05
    kidney[:, :, 20] = False  # the middle column lies on neither side
    numbers, n_parts = ndimage.label(kidney)
    sizes = sorted(ndimage.sum_labels(kidney, numbers, range(1, n_parts + 1)), reverse=True)
    expected = [size * VOXEL_ML for size in sizes if size * VOXEL_ML >= 5]
    assert 1 < len(expected) <= anatomy.MOST_PARTS
    found = find_parts(kidney, 0, stored(tmp_path, draw()).geometry)
    assert [part.right_ml + part.left_ml for part in found] == pytest.approx(expected)


def test_labels_strewn_over_a_whole_scan_are_halved_before_they_are_numbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kidney = draw(RIGHT, LEFT) > 0  # even borders: halving keeps their volumes
    geometry = stored(tmp_path, draw()).geometry
    whole = find_parts(kidney, 0, geometry)
    monkeypatch.setattr(anatomy, "MOST_VOXELS", kidney.size - 1)
    right, left = sorted(find_parts(kidney, 0, geometry), key=lambda part: part.left_ml)
    assert len(whole) == 2
    assert right.right_ml == pytest.approx(22.5)
    assert left.left_ml == pytest.approx(22.5 * 8 / 6)  # columns 31 to 36 lie in four pairs
    assert right.right_mm == pytest.approx(77.5)  # from column 20 to the middle of 4 and 5
    assert left.left_mm == pytest.approx(82.5)
