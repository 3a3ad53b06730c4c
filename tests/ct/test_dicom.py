"""DICOM series: HU by slope and intercept, geometry in RAS, and what is refused."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from kidneyseg.ct.dicom import is_dicom, read_series
from kidneyseg.ct.volumes import Volume, read_geometry, read_labels, write_mask
from kidneyseg.errors import CorrectableError, DataError

N_SLICES, ROWS, COLUMNS = 5, 20, 24
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # columns grow to the left, rows to posterior
FIRST_MM, SLICE_MM, PIXEL_MM = np.array([-40.0, 10.0, -300.0]), 2.5, (0.8, 0.7)  # row, column
UP, BACK = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
Writer = Callable[..., Path]


@pytest.fixture
def sitk() -> ModuleType:
    module: ModuleType = pytest.importorskip("SimpleITK", reason="needs the extra `dicom`")
    return module


@pytest.fixture
def hu() -> NDArray[np.int16]:  # (slices from the feet up, rows, columns)
    random = np.random.default_rng(0)
    return random.integers(-1000, 1500, (N_SLICES, ROWS, COLUMNS)).astype(np.int16)


@pytest.fixture
def write_slice(sitk: ModuleType) -> Writer:
    """Write one slice, stored with an intercept, under a name that tells nothing of its place."""

    def write(
        folder: Path,
        values: NDArray[np.int16],  # (rows, columns) HU
        position: NDArray[np.float64],
        **changes: str,
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        image = sitk.GetImageFromArray(values[None])  # HU: the writer stores (HU + 1024) / 1
        image.SetSpacing((PIXEL_MM[1], PIXEL_MM[0], 1.0))
        tags = {
            "0008|0060": "CT",
            "0020|000d": "1.2.3",
            "0020|000e": "1.2.3.4",
            "0020|0032": "\\".join(f"{value:g}" for value in position),
            "0020|0037": "\\".join(f"{value:g}" for value in AXIAL),
            "0028|1052": "-1024",
            "0028|1053": "1",
        }
        for key, value in {
            **tags,
            **{k.replace("_", "|")[1:]: v for k, v in changes.items()},
        }.items():
            image.SetMetaData(key, value)
        path = folder / f"{len(list(folder.iterdir())):03d}.dcm"
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(path))
        writer.Execute(image)
        return path

    return write


@pytest.fixture
def series(tmp_path: Path, hu: NDArray[np.int16], write_slice: Writer) -> Path:
    for number in (3, 0, 4, 1, 2):
        write_slice(tmp_path / "series", hu[number], FIRST_MM + number * SLICE_MM * UP)
    return tmp_path / "series"


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_series(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_slices_come_in_hu_from_superior_to_inferior(series: Path, hu: NDArray[np.int16]) -> None:
    volume = read_series(series)
    np.testing.assert_array_equal(volume.array, hu[::-1])
    assert volume.geometry.spacing_mm == pytest.approx((SLICE_MM, *PIXEL_MM))


def test_the_intercept_is_applied(series: Path, hu: NDArray[np.int16]) -> None:
    stored = np.frombuffer((series / "000.dcm").read_bytes()[-ROWS * COLUMNS * 2 :], np.int16)
    np.testing.assert_array_equal(stored.reshape(ROWS, COLUMNS), hu[3] + 1024)
    np.testing.assert_array_equal(read_series(series).array[N_SLICES - 1 - 3], hu[3])


def test_every_voxel_lies_where_the_slices_say(series: Path) -> None:
    geometry = read_series(series).geometry
    lps = FIRST_MM + np.array([7 * PIXEL_MM[1], 3 * PIXEL_MM[0], 2 * SLICE_MM])
    expected = [-lps[0], -lps[1], lps[2]]  # RAS
    stored = geometry.affine @ [7, 3, 2, 1]
    canonical = geometry.canonical_affine @ [N_SLICES - 1 - 2, 3, 7, 1]
    np.testing.assert_allclose(stored[:3], expected, atol=1e-4)
    np.testing.assert_allclose(canonical[:3], expected, atol=1e-4)


def test_a_mask_goes_back_as_nifti_with_both_codes(series: Path, tmp_path: Path) -> None:
    volume: Volume[np.int16] = read_series(series)
    mask = (volume.array > 200).astype(np.uint8)
    write_mask(tmp_path / "mask.nii.gz", mask, volume.geometry)
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.nii.gz").array, mask)
    written = read_geometry(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(written.affine, volume.geometry.affine, atol=1e-4)
    assert written.header.get_data_shape() == (COLUMNS, ROWS, N_SLICES)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (1, 1)


def test_padding_below_air_is_clipped(
    tmp_path: Path, hu: NDArray[np.int16], write_slice: Writer
) -> None:
    hu[:, 0, 0] = -3024
    for number in range(2):
        write_slice(tmp_path / "low", hu[number], FIRST_MM + number * SLICE_MM * UP)
    found = read_series(tmp_path / "low").array
    assert (found[:, 0, 0] == -1024).all()
    np.testing.assert_array_equal(found[:, 1:], hu[1::-1, 1:])


def test_a_missing_slice_is_told(series: Path) -> None:
    (series / "004.dcm").unlink()  # the middle one
    message = refusal(series)
    assert "5.00 mm between slices 2 and 3, elsewhere 2.50 mm" in message
    assert "none missing or doubled" in message


def test_a_doubled_slice_is_told(series: Path, hu: NDArray[np.int16], write_slice: Writer) -> None:
    write_slice(series, hu[1], FIRST_MM + SLICE_MM * UP)
    assert "0.00 mm between slices" in refusal(series)


def test_a_tilted_gantry_is_told(
    tmp_path: Path, hu: NDArray[np.int16], write_slice: Writer
) -> None:
    for number in range(4):
        write_slice(
            tmp_path / "tilted", hu[number], FIRST_MM + number * (SLICE_MM * UP + 0.5 * BACK)
        )
    assert "as by a tilted gantry" in refusal(tmp_path / "tilted")


def test_several_series_in_a_folder_are_told(
    series: Path, hu: NDArray[np.int16], write_slice: Writer
) -> None:
    for number in range(3):
        position = FIRST_MM + number * SLICE_MM * UP
        write_slice(series, hu[number], position, _0020_000e="1.2.3.5")
    assert "2 DICOM series (of 5, 3 files)" in refusal(series)


def test_another_modality_is_told(
    tmp_path: Path, hu: NDArray[np.int16], write_slice: Writer
) -> None:
    write_slice(tmp_path / "mr", hu[0], FIRST_MM, _0008_0060="MR")
    assert "modality MR; expected CT" in refusal(tmp_path / "mr")


def test_a_single_slice_is_told(tmp_path: Path, hu: NDArray[np.int16], write_slice: Writer) -> None:
    write_slice(tmp_path / "one", hu[0], FIRST_MM)
    assert "one slice; expected a whole series" in refusal(tmp_path / "one")


def test_a_slice_of_another_size_is_told(
    series: Path, hu: NDArray[np.int16], write_slice: Writer
) -> None:
    write_slice(series, hu[0, :10], FIRST_MM - SLICE_MM * UP)
    message = refusal(series)
    assert "another size, spacing or direction" in message or "2 DICOM series" in message


@pytest.mark.parametrize("kept", [-1, -200, 600, 100])
@pytest.mark.parametrize("name", ["000.dcm", "002.dcm"])  # one between others, and the topmost
def test_a_cut_slice_is_named(series: Path, name: str, kept: int) -> None:
    content = (series / name).read_bytes()
    (series / name).write_bytes(content[:kept])
    assert f"{name}: cut or damaged DICOM; fetch it again" in refusal(series)


def test_a_folder_without_dicom_is_told(sitk: ModuleType, tmp_path: Path) -> None:
    assert "no DICOM series" in refusal(tmp_path)


def test_files_are_known_by_name_or_first_bytes(series: Path, tmp_path: Path) -> None:
    shutil.copy(series / "000.dcm", tmp_path / "IM0001")
    (tmp_path / "notes").write_text("no scan", encoding="utf-8")
    (tmp_path / "scan.nii").write_text("no scan", encoding="utf-8")
    known = [
        is_dicom(tmp_path / name) for name in ("series/000.dcm", "IM0001", "notes", "scan.nii")
    ]
    assert known == [True, True, False, False]
    assert not is_dicom(tmp_path)


def test_without_simpleitk_the_message_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(CorrectableError, match="install kidneyseg with its extra `dicom`"):
        read_series(tmp_path)
