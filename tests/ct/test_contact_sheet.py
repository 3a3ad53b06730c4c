"""The contact sheet: what a person sees of every volume."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kidneyseg.ct.cases import Case
from kidneyseg.ct.contact_sheet import (
    OUTLINE,
    PICTURE_PX,
    TEXT_PX,
    CasePictures,
    DrawCase,
    write_contact_sheet,
)
from kidneyseg.ct.fingerprints import CaseFingerprint
from kidneyseg.ct.volumes import write_kits19_case
from kidneyseg.settings import DataSettings

SETTINGS = DataSettings(downsampling=2, slice_size=(16, 16), hu_window=(-100.0, 155.0))


@pytest.fixture
def pictures(tmp_path: Path, fingerprint_of: Callable[[Case], CaseFingerprint]) -> CasePictures:
    """80 x 160 mm slices of 2 mm pixels, 40 mm high; most kidney on slice 6 and in row 10."""
    scan = np.full((8, 40, 80), -500, np.int16)
    scan[6], scan[:, 10] = 55, 55
    scan[6, :, :4] = 900
    labels = np.zeros(scan.shape, np.uint8)
    labels[6, 8:18, 20:40] = 1
    labels[2:8, 10, 60:70] = 2
    folder = tmp_path / "case_00000"
    write_kits19_case(folder, scan, labels, spacing_mm=(5.0, 2.0, 2.0))
    case = Case(
        name="case_00000",
        imaging=folder / "imaging.nii.gz",
        segmentation=folder / "segmentation.nii.gz",
    )
    return DrawCase(settings=SETTINGS)(fingerprint_of(case))


def test_a_case_is_told_by_name_and_size(pictures: CasePictures) -> None:
    assert (pictures.name, pictures.shape, pictures.slice_mm) == ("case_00000", (8, 40, 80), 5.0)


def test_the_slice_with_most_kidney_is_drawn_windowed_and_to_scale(pictures: CasePictures) -> None:
    """160 mm make 160 pixels; the slice's 80 mm lie in the middle."""
    assert pictures.axial.shape == (PICTURE_PX, PICTURE_PX, 3)
    assert not pictures.axial[:40].any()
    assert not pictures.axial[120:].any()
    assert (pictures.axial[40:50, 8:] == 155).all()  # 55 HU
    assert (pictures.axial[40:120, :8] == 255).all()  # above the window


def test_the_kidney_is_outlined(pictures: CasePictures) -> None:
    outlined = (pictures.axial == OUTLINE).all(axis=2)
    expected = np.zeros((PICTURE_PX, PICTURE_PX), np.bool_)
    expected[56:76, 40:80] = True
    expected[57:75, 41:79] = False
    expected[60:62, 120:140] = True
    np.testing.assert_array_equal(outlined, expected)


def test_the_plane_with_most_kidney_stands_upright_and_to_scale(pictures: CasePictures) -> None:
    """Row 10: slices 2 to 7 of 5 mm, 40 mm in the middle of the box, superior above."""
    outlined = (pictures.coronal == OUTLINE).all(axis=2)
    rows, columns = np.nonzero(outlined[:, 115:])
    assert (rows.min(), rows.max()) == (60 + 10, 60 + 39)
    assert (columns.min() + 115, columns.max() + 115) == (120, 139)
    assert not pictures.coronal[:60].any()


def test_the_sheet_shows_every_case_in_order(pictures: CasePictures, tmp_path: Path) -> None:
    bright = replace(pictures, name="case_00001", axial=np.full_like(pictures.axial, 200))
    path = tmp_path / "sheet.png"
    write_contact_sheet([pictures, bright, pictures, pictures, pictures], path)
    with Image.open(path) as image:
        sheet = np.asarray(image)
    high, wide = PICTURE_PX + TEXT_PX, 2 * PICTURE_PX
    assert sheet.shape == (3 * high, 2 * wide, 3)
    np.testing.assert_array_equal(sheet[TEXT_PX:high, :PICTURE_PX], pictures.axial)
    np.testing.assert_array_equal(sheet[TEXT_PX:high, PICTURE_PX:wide], pictures.coronal)
    assert (sheet[TEXT_PX:high, wide : wide + PICTURE_PX] == 200).all()
    assert (sheet[:TEXT_PX, :wide] > 200).any()  # the name
    assert not sheet[2 * high :, wide:].any()
