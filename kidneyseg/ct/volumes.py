"""The one door to NIfTI files: reading scans and labels, writing cases and masks.

Every array that leaves this module is in the canonical orientation of KiTS19, ('I', 'P', 'L'):
axis 0 grows from superior to inferior (slices), axis 1 to posterior (rows), axis 2 to the
patient's left (columns). A `Geometry` remembers how the file itself was stored, so that a mask
goes back bit for bit into the scan's own shape, orientation, affine and header.

Headers are judged before any voxel is read; data is read whole, so that a cut or damaged gzip
stream is an error and never silently a scan.
"""

import gzip
import logging
import math
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Generic, TypeVar

import nibabel as nib
import numpy as np
from isal import igzip, igzip_lib
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from kidneyseg.ct.findings import CaseError, Kind
from kidneyseg.ct.voxels import Converter, ToHu, ToLabels, read_voxels
from kidneyseg.errors import DataError

CANONICAL_AXES = ("I", "P", "L")
LARGEST_AXIS = 16_384  # voxels; the longest KiTS19 scan has 1059 slices
DEFLATE_LIMIT = 1032  # deflate never expands a byte to more than this many
HU_RANGE = (-1024, 3071)  # below it lies padding, above it metal; both are clipped
SHEAR_TOLERANCE = 0.01  # |cosine| between two voxel axes

DAMAGE: tuple[type[Exception], ...] = (
    EOFError,
    gzip.BadGzipFile,
    igzip_lib.IsalError,  # type: ignore[assignment]  # the stub makes an instance of it
)
HEADER_BYTES = 348
SILENT = logging.getLogger(__name__)  # takes nibabel's remarks on headers
SILENT.disabled = True

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How a file stores its array, and where the array lies in the patient."""

    header: nib.Nifti1Header  # the file's own, with both its codes
    affine: NDArray[np.float64]  # (4, 4), stored voxel index -> RAS mm
    to_canonical: NDArray[np.float64]  # (3, 2), nibabel orientation: stored -> canonical axes
    shape: tuple[int, int, int]  # (slices, rows, columns), canonical
    spacing_mm: tuple[float, float, float]  # (slice, row, column), canonical

    @property
    def canonical_affine(self) -> NDArray[np.float64]:
        """(4, 4), canonical voxel index -> RAS mm."""
        stored_shape = self.header.get_data_shape()
        affine: NDArray[np.float64] = self.affine @ inv_ornt_aff(self.to_canonical, stored_shape)
        return affine

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Generic[T]):
    """An array in canonical orientation with the geometry of its file."""

    array: NDArray[T]  # (slices, rows, columns)
    geometry: Geometry


def read_scan(path: Path) -> Volume[np.int16]:
    """Read a CT scan in HU, clipped to [-1024, 3071] (padding and metal lie beyond).

    Raises DataError for a file that is missing, cut, damaged, not 3-D, sheared, or not finite.
    """
    convert = ToHu(HU_RANGE)
    hu, geometry = _read(path, np.int16, convert)
    if not convert.all_finite:
        raise CaseError(
            f"{path}: holds NaN or infinite values; expected HU everywhere", Kind.NOT_FINITE
        )
    return Volume(array=_reorient(hu, geometry.to_canonical), geometry=geometry)


def read_labels(path: Path) -> Volume[np.uint8]:
    """Read a label map of whole numbers 0..255.

    Raises DataError as `read_scan` does, and for values that are not whole numbers 0..255.
    """
    convert = ToLabels()
    labels, geometry = _read(path, np.uint8, convert)
    if convert.wrong is not None:
        raise CaseError(
            f"{path}: holds the label {convert.wrong}; expected whole numbers from 0 to 255",
            Kind.LABEL_VALUES,
        )
    return Volume(array=_reorient(labels, geometry.to_canonical), geometry=geometry)


def read_geometry(path: Path) -> Geometry:
    """Read only the header, and check it. Raises DataError."""
    with _opened(path) as stream:
        return _geometry(path, _read_header(path, stream))


def write_mask(
    path: Path,
    mask: NDArray[np.uint8],  # (slices, rows, columns), canonical
    geometry: Geometry,
) -> None:
    """Write a mask in the shape, orientation, affine and header codes of the scan's own file."""
    if mask.shape != geometry.shape:
        raise DataError(f"{path}: mask {mask.shape} does not fit the scan {geometry.shape}")
    unmoved = np.array([[0, 1], [1, 1], [2, 1]])
    back = ornt_transform(unmoved, geometry.to_canonical)
    header = geometry.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 0
    stored = apply_orientation(mask, back).reshape(header.get_data_shape())  # 4-D, if the scan is
    _save(nib.Nifti1Image(stored, geometry.affine, header), path)


def write_kits19_case(
    folder: Path,
    scan: NDArray[np.int16],  # (slices, rows, columns), canonical, HU
    labels: NDArray[np.uint8],  # same shape
    spacing_mm: tuple[float, float, float],  # (slice, row, column)
) -> None:
    """Write `imaging.nii.gz` and `segmentation.nii.gz` as KiTS19 stores them: I P L, sform only."""
    slice_mm, row_mm, column_mm = spacing_mm
    affine = np.array(
        [[0, 0, -column_mm, 0], [0, -row_mm, 0, 0], [-slice_mm, 0, 0, 0], [0, 0, 0, 1]],
        dtype=np.float64,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("imaging", scan), ("segmentation", labels)):
        image = nib.Nifti1Image(array, None)
        image.header.set_zooms(spacing_mm)
        image.header.set_xyzt_units("mm")
        image.header.set_sform(affine, code=2)
        image.header.set_qform(None, code=0)
        _save(image, folder / f"{name}.nii.gz")


def _read(path: Path, dtype: type[T], convert: Converter[T]) -> tuple[NDArray[T], Geometry]:
    """Read the stored array, scaled as its header says and converted, and where it lies."""
    with _opened(path) as stream:
        header = _read_header(path, stream)
        geometry = _geometry(path, header)
        stored = header.get_data_dtype()
        if stored.kind not in "iuf":
            raise CaseError(
                f"{path}: voxels of type {stored}; expected whole or real numbers", Kind.VOXEL_TYPE
            )
        values = np.empty(header.get_data_shape()[:3], dtype, order="F")
        read_voxels(stream, header, convert, values)
        if stream.read(1):
            raise CaseError(
                f"{path}: goes on after its last voxel; expected the file to end there",
                Kind.DAMAGED,
            )
    return values, geometry


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a .nii or .nii.gz file; damage found while it is read becomes a DataError."""
    if not path.is_file():
        raise CaseError(f"{path}: no such file", Kind.MISSING)
    try:
        with igzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream
    except DAMAGE as error:
        raise CaseError(
            f"{path}: cut or damaged ({error}); fetch it again", Kind.DAMAGED
        ) from error
    except OSError as error:
        reason = " ".join(str(error).split())
        raise CaseError(f"{path}: cannot be read ({reason})", Kind.UNREADABLE) from error


def _read_header(path: Path, stream: IO[bytes]) -> nib.Nifti1Header:
    """Read the header and check it, also for what nibabel would mend without a word."""
    binary = stream.read(HEADER_BYTES)
    if len(binary) < HEADER_BYTES:
        raise EOFError(f"{len(binary)} bytes, expected a header of {HEADER_BYTES}")
    try:
        block = nib.Nifti1Header(binary, check=False)
        sizes_mm = block["pixdim"][1:4].tolist()
        block.check_fix(logger=SILENT)  # before extensions are looked for
        stream.seek(0)
        header: nib.Nifti1Header = nib.Nifti1Header.from_fileobj(stream, check=False)
        header.check_fix(logger=SILENT)
        header.get_best_affine()  # these three refuse numbers that make no sense
        header.get_data_offset()
        header.get_slope_inter()
    except (HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        raise CaseError(f"{path}: not a NIfTI-1 file ({error})", Kind.NOT_NIFTI) from error
    if header["sform_code"] == 0 and 0 in sizes_mm:
        raise CaseError(
            f"{path}: spacing {sizes_mm} mm; expected it above 0 on every axis", Kind.SPACING
        )
    return header


def _geometry(path: Path, header: nib.Nifti1Header) -> Geometry:
    shape = header.get_data_shape()
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise CaseError(f"{path}: shape {shape}; expected three dimensions", Kind.NOT_3D)
    if min(shape) < 1 or max(shape) > LARGEST_AXIS:
        raise CaseError(
            f"{path}: shape {shape}; expected 1 to {LARGEST_AXIS} voxels along an axis",
            Kind.TOO_LARGE,
        )
    promised = math.prod(shape) * header.get_data_dtype().itemsize + header.get_data_offset()
    possible = path.stat().st_size * (DEFLATE_LIMIT if path.suffix == ".gz" else 1)
    if promised > possible:
        raise CaseError(
            f"{path}: cut or damaged (its header promises {promised} bytes, "
            f"more than {path.stat().st_size} bytes of file can hold); fetch it again",
            Kind.DAMAGED,
        )
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    _check_affine(path, affine)
    orientation = ornt_transform(io_orientation(affine), axcodes2ornt(CANONICAL_AXES))
    axes = np.argsort(orientation[:, 0])  # stored axis of each canonical one
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[axes]
    return Geometry(
        header=header.copy(),
        affine=affine,
        to_canonical=orientation,
        shape=(shape[axes[0]], shape[axes[1]], shape[axes[2]]),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
    )


def _check_affine(path: Path, affine: NDArray[np.float64]) -> None:
    if not np.isfinite(affine).all():
        raise CaseError(f"{path}: affine {affine.tolist()}; expected finite numbers", Kind.SPACING)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() <= 0:
        raise CaseError(
            f"{path}: spacing {lengths.tolist()} mm; expected it above 0 on every axis",
            Kind.SPACING,
        )
    directions = affine[:3, :3] / lengths
    shear = np.abs(directions.T @ directions - np.eye(3)).max()
    if shear > SHEAR_TOLERANCE:
        raise CaseError(
            f"{path}: sheared affine (cosine {shear:.3f} between two axes, expected 0); "
            "resample it to right angles, a tilted gantry for instance",
            Kind.SHEARED,
        )


def _reorient(stored: NDArray[T], orientation: NDArray[np.float64]) -> NDArray[T]:
    reoriented: NDArray[T] = apply_orientation(stored, orientation)
    return reoriented


def _save(image: nib.Nifti1Image, path: Path) -> None:
    """Write under a temporary name and rename, so that no half file is ever seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = ".nii.gz" if path.name.endswith(".nii.gz") else ".nii"
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{suffix}")
    try:
        image.to_filename(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
