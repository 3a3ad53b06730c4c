"""The slices that are drawn: the best and the worst, apart from each other, with both outlines."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kidneyseg.ct.cases import CaseVolumes
from kidneyseg.ct.volumes import read_geometry, write_kits19_case
from kidneyseg.evaluation.slice_pictures import (
    N_SLICES,
    SlicePicture,
    extreme_slices,
    worst_of_all,
)
from kidneyseg.evaluation.slice_sheet import TILE_PX, draw_slice, write_slice_sheet
from kidneyseg.training.pictures import PREDICTED_COLOUR, TRUE_COLOUR

SHAPE = (20, 50, 60)


@pytest.fixture
def volumes(tmp_path: Path) -> CaseVolumes:
    """Kidney on slices 2 to 17."""
    kidney = np.zeros(SHAPE, np.bool_)
    kidney[2:18, 20:30, 20:40] = True
    scan = np.full(SHAPE, 100, np.int16)
    write_kits19_case(tmp_path, scan, kidney.astype(np.uint8), spacing_mm=(5.0, 2.0, 2.0))
    geometry = read_geometry(tmp_path / "imaging.nii.gz")
    return CaseVolumes(scan_hu=scan, kidney=kidney, geometry=geometry)


def test_the_worst_slices_come_first_and_lie_apart(volumes: CaseVolumes) -> None:
    predicted = volumes.kidney.copy()
    predicted[8, 20:30, 30:40] = False  # Dice 2/3
    predicted[9, 20:30, 35:40] = False  # Dice 6/7, 5 mm from the other
    predicted[19, 10:14, 10:14] = True  # Dice 0
    best, worst = extreme_slices("case_00000", volumes, predicted, (-100.0, 300.0))
    assert [picture.number for picture in worst[:2]] == [19, 8]
    assert [picture.dice for picture in worst[:2]] == [0, pytest.approx(2 / 3)]
    assert worst[0].wrong_mm2 == 16 * 4
    assert best[0].dice == 1
    numbers = sorted(picture.number for picture in worst)
    assert min(np.diff(numbers)) * 5 >= 12
    assert all(picture.grey.shape == picture.truth.shape for picture in (*best, *worst))


def test_of_many_cases_none_has_all(volumes: CaseVolumes) -> None:
    _, worst = extreme_slices("a", volumes, np.zeros(SHAPE, np.bool_), (-100.0, 300.0))
    better = [replace(picture, case="b", dice=0.5) for picture in worst]
    others = [[replace(picture, case=name) for picture in better] for name in "cdefgh"]
    chosen = worst_of_all([worst, better, *others])
    assert len(chosen) == N_SLICES
    assert [picture.case for picture in chosen[:3]] == ["a", "a", "b"]


def test_both_outlines_are_drawn_and_nothing_else(volumes: CaseVolumes) -> None:
    predicted = np.roll(volumes.kidney, 6, axis=2)
    (picture, *_), _ = extreme_slices("a", volumes, predicted, (-100.0, 300.0))
    drawn = draw_slice(picture)
    assert drawn.shape == (TILE_PX, TILE_PX, 3)
    colours = {tuple(pixel) for pixel in drawn.reshape(-1, 3).tolist()}
    assert {TRUE_COLOUR, PREDICTED_COLOUR, (127, 127, 127)} <= colours
    flat = replace(picture, truth=np.zeros_like(picture.truth), predicted=picture.truth & False)
    assert set(np.unique(draw_slice(flat))) <= {0, 127}


def test_pixels_that_are_not_square_are_drawn_square(volumes: CaseVolumes) -> None:
    (picture, *_), _ = extreme_slices("a", volumes, volumes.kidney, (-100.0, 300.0))
    wide = replace(picture, pixel_mm=(1.0, 2.0))
    shown = np.any(draw_slice(wide), axis=2)
    rows, columns = np.any(shown, axis=1).sum(), np.any(shown, axis=0).sum()
    height, width = picture.grey.shape
    assert columns / rows == pytest.approx(2 * width / height, rel=0.02)


@pytest.mark.parametrize("n", [1, 4, 5, 8])
def test_a_sheet_has_room_for_all(volumes: CaseVolumes, tmp_path: Path, n: int) -> None:
    (picture, *_), _ = extreme_slices("a", volumes, volumes.kidney, (-100.0, 300.0))
    pictures: list[SlicePicture] = [picture] * n
    write_slice_sheet(pictures, "Best slices", tmp_path / "best.png")
    with Image.open(tmp_path / "best.png") as image:
        width, height = image.size
    assert width >= min(n, 4) * TILE_PX
    assert height >= -(-n // 4) * TILE_PX
