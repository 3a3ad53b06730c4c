"""Scans and labels as files: every orientation and header, every kind of damage."""

import gzip
import math
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from kidneyseg.ct import voxels
from kidneyseg.ct.findings import CaseError, Kind
from kidneyseg.ct.volumes import (
    read_geometry,
    read_labels,
    read_scan,
    write_kits19_case,
    write_mask,
)
from kidneyseg.errors import DataError

STRAIGHT = np.diag([-0.8, -0.8, 3.0, 1.0])  # stored (left, posterior, superior), as CT often is
REWRITTEN = ("datatype", "bitpix", "scl_slope", "scl_inter", "cal_min", "cal_max", "vox_offset")
MANY = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def write_nifti(
    path: Path,
    array: NDArray[Any],
    affine: NDArray[np.float64] = STRAIGHT,
    codes: tuple[int, int] = (0, 1),  # qform, sform
    scaling: tuple[float, float] | None = None,
) -> Path:
    """Write an array as stored, with the affine in the forms that `codes` name."""
    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    qform_code, sform_code = codes
    header.set_qform(affine if qform_code else None, qform_code)
    header.set_sform(affine if sform_code else None, sform_code)
    if scaling is not None:
        header.set_slope_inter(*scaling)
    header["vox_offset"] = 352
    content = header.binaryblock + bytes(4) + array.tobytes(order="F")
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def with_header(path: Path, **fields: Any) -> Path:
    """Overwrite fields of the header of a .nii file, unchecked."""
    content = path.read_bytes()
    header = nib.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


def raw_header(path: Path) -> nib.Nifti1Header:
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    return nib.Nifti1Header(content[:348], check=False)


def noise(shape: tuple[int, ...] = (5, 6, 7), dtype: Any = np.int16) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def refusal(read: Callable[[Path], Any], path: Path) -> str:
    """What the error says after the path: one line."""
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """One of the ways in which a file can hold a volume."""

    shape: tuple[int, int, int]  # canonical
    spacing_mm: tuple[float, float, float]  # canonical
    order: tuple[int, int, int]  # canonical axis of each stored one
    flips: tuple[bool, bool, bool]
    tilt: tuple[float, float, float]  # radians
    codes: tuple[int, int]
    dtype: type[np.generic]
    scaling: tuple[float, float] | None
    suffix: str
    seed: int

    @property
    def canonical_affine(self) -> NDArray[np.float64]:
        slice_mm, row_mm, column_mm = self.spacing_mm
        affine = np.eye(4)
        axes = np.array([[0, 0, -column_mm], [0, -row_mm, 0], [-slice_mm, 0, 0]])
        affine[:3, :3] = Rotation.from_rotvec(self.tilt).as_matrix() @ axes
        affine[:3, 3] = (170, 150, -40)
        return affine

    @property
    def affine(self) -> NDArray[np.float64]:
        """Stored index -> RAS mm."""
        to_canonical = np.zeros((4, 4))
        to_canonical[3, 3] = 1
        for stored, canonical in enumerate(self.order):
            to_canonical[canonical, stored] = -1 if self.flips[stored] else 1
            to_canonical[canonical, 3] = (self.shape[canonical] - 1) * self.flips[stored]
        return self.canonical_affine @ to_canonical

    def store(self, canonical: NDArray[Any]) -> NDArray[Any]:
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        stored: NDArray[Any] = canonical.transpose(self.order)[steps]
        return stored

    def values(self) -> NDArray[Any]:
        """Canonical array before scaling."""
        low, high = (0, 255) if self.dtype is np.uint8 else (0, 3071)
        if np.dtype(self.dtype).kind != "u":
            low = -1024
        drawn = np.random.default_rng(self.seed).integers(low, high, self.shape, endpoint=True)
        return drawn.astype(self.dtype)


AXIS = st.integers(1, 20) | st.sampled_from([16, 31, 33, 63, 97])
SMALL_ANGLE = st.floats(-0.15, 0.15)
CODE = st.integers(1, 4)
STORAGES = st.builds(
    Storage,
    shape=st.tuples(AXIS, AXIS, AXIS),
    spacing_mm=st.tuples(*[st.floats(0.4, 5.0)] * 3),
    order=st.sampled_from(list(permutations((0, 1, 2)))),
    flips=st.tuples(*[st.booleans()] * 3),
    tilt=st.just((0.0, 0.0, 0.0)) | st.tuples(*[SMALL_ANGLE] * 3),
    codes=st.tuples(CODE, st.just(0)) | st.tuples(st.just(0), CODE) | st.tuples(CODE, CODE),
    dtype=st.sampled_from([np.int16, np.uint8, np.uint16, np.float32, np.int32, np.float64]),
    scaling=st.sampled_from([None, (1.0, 0.0), (1.0, -1024.0), (2.0, -100.0), (0.5, 3.0)]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
    seed=st.integers(0, 99),
)


@MANY
@given(storage=STORAGES)
def test_every_way_to_store_a_scan_reads_as_the_same_array(
    storage: Storage, tmp_path: Path
) -> None:
    values = storage.values()
    path = tmp_path / f"scan{storage.suffix}"
    write_nifti(path, storage.store(values), storage.affine, storage.codes, storage.scaling)

    scan = read_scan(path)

    slope, intercept = storage.scaling or (1.0, 0.0)
    expected = np.clip(np.rint(values.astype(np.float64) * slope + intercept), -1024, 3071)
    np.testing.assert_array_equal(scan.array, expected)
    assert scan.array.dtype == np.int16
    assert scan.geometry.shape == storage.shape
    assert scan.geometry.spacing_mm == pytest.approx(storage.spacing_mm, rel=1e-5)
    np.testing.assert_allclose(
        scan.geometry.canonical_affine, storage.canonical_affine, rtol=0, atol=0.02
    )


@MANY
@given(storage=STORAGES)
def test_a_mask_goes_back_into_the_scans_own_grid_bit_for_bit(
    storage: Storage, tmp_path: Path
) -> None:
    scan = write_nifti(
        tmp_path / f"scan{storage.suffix}",
        storage.store(storage.values()),
        storage.affine,
        storage.codes,
        storage.scaling,
    )
    mask = np.random.default_rng(storage.seed).integers(0, 2, storage.shape).astype(np.uint8)
    path = tmp_path / f"mask{storage.suffix}"

    write_mask(path, mask, read_geometry(scan))

    before, after = raw_header(scan), raw_header(path)
    for name in set(before.keys()) - set(REWRITTEN):
        assert after[name].tobytes() == before[name].tobytes(), name
    image = nib.Nifti1Image.from_filename(path)
    assert image.get_data_dtype() == np.uint8
    assert (after["scl_slope"], after["scl_inter"]) == (1, 0)
    np.testing.assert_array_equal(np.asarray(image.dataobj), storage.store(mask))
    np.testing.assert_array_equal(read_labels(path).array, mask)


def test_big_endian_files_are_read_and_answered_in_kind(tmp_path: Path) -> None:
    array = noise()
    header = nib.Nifti1Header(endianness=">")
    image = nib.Nifti1Image(array.astype(">i2"), STRAIGHT, header)
    image.to_filename(tmp_path / "scan.nii")

    scan = read_scan(tmp_path / "scan.nii")
    write_mask(tmp_path / "mask.nii", (scan.array > 99).astype(np.uint8), scan.geometry)

    np.testing.assert_array_equal(scan.array, array[:, :, ::-1].transpose(2, 1, 0))
    assert nib.Nifti1Image.from_filename(tmp_path / "mask.nii").header.endianness == ">"
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.nii").array, scan.array > 99)


def test_trailing_axes_of_length_one_are_dropped_and_come_back(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", noise((5, 6, 7, 1, 1)))
    scan = read_scan(path)
    write_mask(tmp_path / "mask.nii.gz", np.ones((7, 6, 5), np.uint8), scan.geometry)
    assert scan.array.shape == (7, 6, 5)
    assert nib.Nifti1Image.from_filename(tmp_path / "mask.nii.gz").shape == (5, 6, 7, 1, 1)


def test_padding_and_metal_are_clipped(tmp_path: Path) -> None:
    array = np.array([-3024, -1025, -1024, 0, 3071, 3072, 30000], np.int16).reshape(7, 1, 1)
    scan = read_scan(write_nifti(tmp_path / "scan.nii", array))
    assert scan.array.ravel().tolist() == [-1024, -1024, -1024, 0, 3071, 3071, 3071]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.uint32, np.int64, np.uint64])
def test_types_that_cannot_hold_the_range_of_hu_are_read(tmp_path: Path, dtype: Any) -> None:
    array = np.arange(120, dtype=dtype).reshape(4, 5, 6)
    scan = read_scan(write_nifti(tmp_path / "scan.nii", array))
    assert np.sort(scan.array.ravel()).tolist() == list(range(120))


def test_real_numbers_are_rounded(tmp_path: Path) -> None:
    array = np.array([-0.6, -0.4, 0.4, 1.6], np.float32).reshape(4, 1, 1)
    scan = read_scan(write_nifti(tmp_path / "scan.nii", array, np.diag([-1.0, -1, -1, 1])))
    assert scan.array.ravel().tolist() == [-1, 0, 0, 2]


def test_the_volume_of_a_voxel_is_in_millilitres(tmp_path: Path) -> None:
    geometry = read_geometry(write_nifti(tmp_path / "scan.nii", noise()))
    assert geometry.voxel_ml == pytest.approx(0.8 * 0.8 * 3.0 / 1000)


def test_the_geometry_needs_no_voxels(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", noise((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:-2000])
    assert read_geometry(path).shape == (20, 20, 20)
    assert "cut or damaged" in refusal(read_scan, path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(read_scan, tmp_path / "scan.nii.gz") == "no such file"


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    text = b"<html>please log in</html>" * 40
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    assert refusal(read_scan, path).startswith("not a NIfTI-1 file (")


def test_a_page_under_the_name_of_a_scan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"<html>please log in</html>")
    assert "Not a gzipped file" in refusal(read_scan, path)


@pytest.mark.parametrize("left", [3, 12, 100, 2000, -500, -9, -8, -5, -1])
def test_a_cut_gzip_file_is_refused(tmp_path: Path, left: int) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", noise((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:left])
    message = refusal(read_scan, path)
    assert message.startswith("cut or damaged (")
    assert message.endswith("; fetch it again")


@pytest.mark.parametrize("left", [0, 100, 348, 352, -100, -1])
def test_a_cut_plain_file_is_refused(tmp_path: Path, left: int) -> None:
    path = write_nifti(tmp_path / "scan.nii", noise())
    path.write_bytes(path.read_bytes()[:left])
    message = refusal(read_scan, path)
    assert message.startswith("cut or damaged (")
    assert message.endswith("; fetch it again")


@pytest.mark.parametrize("left", [0, 1, 347])
@pytest.mark.parametrize("read", [read_scan, read_labels, read_geometry])
def test_a_header_that_is_cut_is_damage(
    tmp_path: Path, read: Callable[[Path], object], left: int
) -> None:
    whole = gzip.decompress(write_nifti(tmp_path / "a.nii.gz", noise()).read_bytes())
    for name, content in (("b.nii", whole[:left]), ("b.nii.gz", gzip.compress(whole[:left]))):
        (tmp_path / name).write_bytes(content)
        assert refusal(read, tmp_path / name) == (
            f"cut or damaged ({left} bytes, expected a header of 348); fetch it again"
        )


def test_an_empty_file_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    path.touch()
    with pytest.raises(CaseError, match=r"cut or damaged \(0 bytes") as caught:
        read_scan(path)
    assert caught.value.kind is Kind.DAMAGED


def test_whole_gzip_around_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", noise())
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-10]))
    assert refusal(read_scan, path).startswith("cut or damaged (410 bytes of voxels, expected 420")


def test_a_file_that_goes_on_is_refused(tmp_path: Path) -> None:
    for name in ("scan.nii", "scan.nii.gz"):
        path = write_nifti(tmp_path / name, noise())
        more = b"\0" if path.suffix == ".nii" else gzip.compress(b"\0")
        path.write_bytes(path.read_bytes() + more)
        assert refusal(read_scan, path).startswith("goes on after its last voxel;")


def test_one_wrong_byte_of_a_gzip_file_is_noticed_wherever_it_matters(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", noise())
    whole, array = path.read_bytes(), read_scan(path).array
    refused = 0
    for place, byte in enumerate(whole):
        path.write_bytes(whole[:place] + bytes([byte ^ 0x55]) + whole[place + 1 :])
        try:
            np.testing.assert_array_equal(read_scan(path).array, array)
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
    assert refused >= len(whole) - 6  # gzip's own time stamp, flag and system matter to nobody


@MANY
@given(wrong=st.dictionaries(st.integers(0, 347), st.integers(0, 255), max_size=8))
def test_any_header_gives_a_scan_or_one_line(wrong: dict[int, int], tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii", noise())
    content = bytearray(path.read_bytes())
    for place, byte in wrong.items():
        content[place] = byte
    path.write_bytes(content)
    try:
        scan = read_scan(path)
    except DataError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert scan.array.shape == scan.geometry.shape


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 7, 2), (5, 6, 1, 7)])
def test_only_three_dimensions_are_taken(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write_nifti(tmp_path / "scan.nii", noise(shape))
    assert refusal(read_scan, path) == f"shape {shape}; expected three dimensions"


@pytest.mark.parametrize("length", [0, -3, 20_000])
def test_lengths_out_of_range_are_refused(tmp_path: Path, length: int) -> None:
    path = write_nifti(tmp_path / "scan.nii", noise())
    with_header(path, dim=[3, 5, length, 7, 1, 1, 1, 1])
    message = f"shape (5, {length}, 7); expected 1 to 16384 voxels along an axis"
    assert refusal(read_scan, path) == message


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path: Path, suffix: str) -> None:
    path = write_nifti(tmp_path / "scan.nii", noise())
    with_header(path, dim=[3, 16384, 16384, 100, 1, 1, 1, 1])
    content = path.read_bytes()
    path = tmp_path / f"absurd{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)

    tracemalloc.start()
    message = refusal(read_scan, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    promised = 16384 * 16384 * 100 * 2 + 352
    assert f"its header promises {promised} bytes" in message
    assert peak < 2e6


@pytest.mark.parametrize("offset", [1e9, math.nan, math.inf, 3e38, 100, -352])
def test_voxels_beyond_the_file_are_refused(tmp_path: Path, offset: float) -> None:
    path = with_header(write_nifti(tmp_path / "scan.nii", noise()), vox_offset=offset)
    assert refusal(read_scan, path).startswith(("cut or damaged (", "not a NIfTI-1 file ("))


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1)])
def test_a_spacing_of_zero_is_refused(tmp_path: Path, codes: tuple[int, int]) -> None:
    path = write_nifti(tmp_path / "scan.nii", noise(), np.diag([1.0, 2, 3, 1]), codes)
    with_header(path, pixdim=[1, 1, 0, 3, 0, 0, 0, 0], srow_y=[0, 0, 0, 0])
    message = "spacing [1.0, 0.0, 3.0] mm; expected it above 0 on every axis"
    assert refusal(read_scan, path) == message


def test_pixel_sizes_do_not_matter_beside_an_sform(tmp_path: Path) -> None:
    path = with_header(write_nifti(tmp_path / "scan.nii", noise()), pixdim=[1, 0, 0, 0] + [0] * 4)
    assert read_geometry(path).spacing_mm == pytest.approx((3.0, 0.8, 0.8))


@pytest.mark.parametrize("place", [0, 3])  # direction, origin
def test_an_affine_that_is_not_finite_is_refused(tmp_path: Path, place: int) -> None:
    row = [1.0, 0, 0, 0]
    row[place] = math.nan
    path = with_header(write_nifti(tmp_path / "scan.nii", noise()), srow_x=row)
    message = refusal(read_scan, path)
    assert message.startswith("affine [[")
    assert "nan" in message
    assert message.endswith("expected finite numbers")


def test_a_tilted_gantry_is_refused(tmp_path: Path) -> None:
    sheared = STRAIGHT.copy()
    sheared[1, 2] = math.tan(math.radians(15)) * 3.0
    path = write_nifti(tmp_path / "scan.nii", noise(), sheared)
    message = refusal(read_scan, path)
    assert message.startswith(f"sheared affine (cosine {math.sin(math.radians(15)):.3f} between")
    assert "resample it" in message


def test_rounding_in_an_affine_is_no_shear(tmp_path: Path) -> None:
    noisy = STRAIGHT.copy()
    noisy[1, 2] = 1e-3
    assert read_geometry(write_nifti(tmp_path / "scan.nii", noise(), noisy)).shape == (7, 6, 5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_scan_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    array = noise(dtype=np.float32)
    array[1, 2, 3] = value
    message = refusal(read_scan, write_nifti(tmp_path / "scan.nii", array))
    assert message == "holds NaN or infinite values; expected HU everywhere"


def test_a_scaling_out_of_range_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii", noise(dtype=np.int16), scaling=(3e38, 0))
    assert refusal(read_scan, path).startswith("holds NaN or infinite values")
    with_header(path, scl_slope=2, scl_inter=math.nan)
    assert "invalid intercept" in refusal(read_scan, path)


def test_colours_and_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii", noise(dtype=np.complex64))
    message = refusal(read_scan, path)
    assert message == "voxels of type complex64; expected whole or real numbers"


@pytest.mark.parametrize(
    ("dtype", "value", "shown"),
    [
        (np.float32, 0.5, "0.5"),
        (np.float32, math.nan, "nan"),
        (np.int16, 256, "256"),
        (np.int16, -1, "-1"),
        (np.uint16, 65535, "65535"),
        (np.float64, 1e300, "1e+300"),
    ],
)
def test_labels_that_are_not_whole_numbers_of_a_byte_are_refused(
    tmp_path: Path, dtype: Any, value: float, shown: str
) -> None:
    array = np.ones((5, 6, 7), dtype)
    array[1, 2, 3] = value
    message = refusal(read_labels, write_nifti(tmp_path / "labels.nii.gz", array))
    assert message == f"holds the label {shown}; expected whole numbers from 0 to 255"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("scaling", [None, (0.5, -20.0)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64, ">i2"])
def test_in_many_pieces_a_scan_is_read_as_in_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: Any,
    scaling: tuple[float, float] | None,
    suffix: str,
) -> None:
    path = write_nifti(tmp_path / f"scan{suffix}", noise().astype(dtype), scaling=scaling)
    expected = read_scan(path).array
    monkeypatch.setattr(voxels, "PIECE_BYTES", 50)
    np.testing.assert_array_equal(read_scan(path).array, expected)
    assert expected.dtype == np.int16


def test_what_is_wrong_with_a_late_piece_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voxels, "PIECE_BYTES", 50)
    array = noise(dtype=np.float32)
    array[4, 3, 2] = math.nan
    path = write_nifti(tmp_path / "scan.nii.gz", array)
    assert refusal(read_scan, path).startswith("holds NaN or infinite values")
    assert refusal(read_labels, path).startswith("holds the label nan")
    damaged = bytearray(path.read_bytes())
    damaged[-5] ^= 1  # of the length that gzip wrote down
    path.write_bytes(damaged)
    assert refusal(read_scan, path).startswith("cut or damaged (")  # the stream before the voxels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_whole_labels_are_read_from_any_type(tmp_path: Path, dtype: Any) -> None:
    array = np.arange(210).reshape(5, 6, 7).astype(dtype)
    labels = read_labels(write_nifti(tmp_path / "labels.nii.gz", array))
    assert np.sort(labels.array.ravel()).tolist() == list(range(210))
    assert labels.array.dtype == np.uint8


def test_labels_are_scaled_as_their_header_says(tmp_path: Path) -> None:
    array = np.zeros((5, 6, 7), np.int16)
    array[0] = 4
    labels = read_labels(write_nifti(tmp_path / "labels.nii.gz", array, scaling=(0.5, 0)))
    assert np.unique(labels.array).tolist() == [0, 2]


def test_a_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    geometry = read_geometry(write_nifti(tmp_path / "scan.nii", noise()))
    with pytest.raises(DataError, match=r"mask \(5, 6, 7\) does not fit the scan \(7, 6, 5\)"):
        write_mask(tmp_path / "mask.nii", np.zeros((5, 6, 7), np.uint8), geometry)


def test_a_mask_cut_off_while_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    geometry = read_geometry(write_nifti(tmp_path / "scan.nii", noise()))
    (tmp_path / "mask.nii.gz").write_text("before", encoding="utf-8")

    def write_some(_: nib.Nifti1Image, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(nib.Nifti1Image, "to_filename", write_some)
    with pytest.raises(OSError, match="disk full"):
        write_mask(tmp_path / "mask.nii.gz", np.zeros((7, 6, 5), np.uint8), geometry)

    assert (tmp_path / "mask.nii.gz").read_text(encoding="utf-8") == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"scan.nii", "mask.nii.gz"}


def test_a_written_case_has_the_header_of_kits19(tmp_path: Path) -> None:
    scan, labels = noise((4, 6, 8)), noise((4, 6, 8)).astype(np.uint8)
    write_kits19_case(tmp_path / "case_00000", scan, labels, spacing_mm=(3.0, 0.8, 0.7))
    for name, dtype, array in (("imaging", "int16", scan), ("segmentation", "uint8", labels)):
        image = nib.Nifti1Image.from_filename(tmp_path / "case_00000" / f"{name}.nii.gz")
        expected = np.array([[0, 0, -0.7, 0], [0, -0.8, 0, 0], [-3, 0, 0, 0], [0, 0, 0, 1]])
        np.testing.assert_allclose(image.affine, expected, rtol=1e-6)
        assert nib.orientations.aff2axcodes(image.affine) == ("I", "P", "L")
        assert (image.header["qform_code"], image.header["sform_code"]) == (0, 2)
        assert image.header.get_zooms() == pytest.approx((3.0, 0.8, 0.7))
        assert image.get_data_dtype() == dtype
        np.testing.assert_array_equal(np.asarray(image.dataobj), array)


def test_a_written_case_is_read_back(tmp_path: Path) -> None:
    scan, labels = noise((4, 6, 8)), noise((4, 6, 8)).astype(np.uint8)
    write_kits19_case(tmp_path, scan, labels, spacing_mm=(3.0, 0.8, 0.7))
    np.testing.assert_array_equal(read_scan(tmp_path / "imaging.nii.gz").array, scan)
    np.testing.assert_array_equal(read_labels(tmp_path / "segmentation.nii.gz").array, labels)


def test_a_written_case_matches_a_real_one(
    tmp_path: Path, real_labels: Callable[[str], Path]
) -> None:
    real = real_labels("case_00110")
    spacing_mm = read_geometry(real).spacing_mm
    array = noise((4, 6, 8))
    write_kits19_case(tmp_path, array, array.astype(np.uint8), spacing_mm)
    ours, theirs = raw_header(tmp_path / "segmentation.nii.gz"), raw_header(real)
    for name in ("datatype", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "magic"):
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    np.testing.assert_array_equal(ours["pixdim"][1:4], theirs["pixdim"][1:4])


@pytest.mark.parametrize("name", ["case_00110", "case_00015"])  # sform only; uint16, qform only
def test_real_labels_are_read_as_they_are_stored(
    name: str, real_labels: Callable[[str], Path]
) -> None:
    path = real_labels(name)
    labels = read_labels(path)
    stored = np.asarray(nib.Nifti1Image.from_filename(path).dataobj)
    np.testing.assert_array_equal(labels.array, stored)
    assert labels.geometry.to_canonical.tolist() == [[0, 1], [1, 1], [2, 1]]
