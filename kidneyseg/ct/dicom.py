"""CT series in DICOM, read by SimpleITK, which comes with the extra `dicom`.

A series becomes a `Volume` as a NIfTI file does. Its `Geometry` is that of the NIfTI file that a
converter would write: stored (columns, rows, slices), RAS. Slices are read one by one, so that no
more than the 16-bit scan is held, and a damaged one is named.
"""

# mypy: disallow-untyped-calls=False
# Most of nibabel has no types.

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from kidneyseg.ct.findings import CaseError, Kind
from kidneyseg.ct.volumes import CANONICAL_AXES, HU_RANGE, Geometry, Volume
from kidneyseg.errors import CorrectableError

MODALITY, POSITION, ORIENTATION = "0008|0060", "0020|0032", "0020|0037"
BITS = "0028|0100"
MAGIC_AT = 128  # a DICOM file has DICM here
DIRECTORY_FILE = "DICOMDIR"  # lists what lies on a disc
PIXEL_DATA = b"\xe0\x7f\x10\x00"  # the tag 7FE0,0010, little endian
UNDEFINED_LENGTH = 0xFFFFFFFF  # of compressed pixels
SLICE_TOLERANCE = 0.02  # of the slice spacing, from slice to slice
TILT_TOLERANCE = 0.01  # |cosine| between the way from slice to slice and their plane
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
SCANNER = 1  # NIfTI's code for scanner coordinates


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """What one file's header says."""

    path: Path
    size: tuple[int, int]  # (columns, rows)
    spacing_mm: tuple[float, float]  # (column, row)
    position: NDArray[np.float64]  # (3,) LPS mm, of its first pixel
    axes: NDArray[np.float64]  # (3, 2), directions of columns and rows in LPS


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its name or its first bytes."""
    if not path.is_file():
        return False
    if path.suffix or path.name == DIRECTORY_FILE:
        return path.suffix.lower() == ".dcm"
    with path.open("rb") as stream:
        return stream.read(MAGIC_AT + 4)[MAGIC_AT:] == b"DICM"


def read_series(folder: Path) -> Volume[np.int16]:
    """Read the one CT series in a folder in HU, clipped to [-1024, 3071].

    Rescale slope and intercept are applied. Raises DataError for a folder without a series or with
    several, for what is not CT, and for slices that are missing, doubled, uneven, tilted, of
    different sizes or damaged; CorrectableError where SimpleITK is missing.
    """
    sitk = _simpleitk()
    slices = _in_order(folder, [_read_header(sitk, path) for path in _series(sitk, folder)])
    columns, rows = slices[0].size
    scan = np.empty((len(slices), rows, columns), np.int16)
    for target, one in zip(scan, slices, strict=True):
        values = np.rint(np.clip(_read_pixels(sitk, one.path), *HU_RANGE))
        target[...] = values
    geometry = _geometry(slices)
    stored: NDArray[np.int16] = scan.transpose(2, 1, 0)
    canonical: NDArray[np.int16] = apply_orientation(stored, geometry.to_canonical)
    return Volume(array=canonical, geometry=geometry)


def _simpleitk() -> ModuleType:
    if importlib.util.find_spec("SimpleITK") is None:
        raise CorrectableError(
            "DICOM: no package SimpleITK here; install kidneyseg with its extra `dicom`, "
            "or convert the series to NIfTI"
        )
    sitk = importlib.import_module("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # what matters is checked here
    return sitk


def _series(sitk: ModuleType, folder: Path) -> list[Path]:
    """The files of the only series in a folder, which are all DICOM files in it."""
    names = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not names:
        raise CaseError(f"{folder}: no DICOM series; expected the slices of one CT", Kind.MISSING)
    if len(names) > 1:
        counts = [len(_files(sitk, folder, name)) for name in names]
        raise CaseError(
            f"{folder}: {len(names)} DICOM series (of {', '.join(map(str, counts))} files); "
            "expected one: put each into a folder of its own",
            Kind.GRID,
        )
    files = _files(sitk, folder, names[0])
    for path in sorted(folder.iterdir()):
        if is_dicom(path) and path not in files:  # left out without a word
            raise CaseError(f"{path}: cut or damaged DICOM; fetch it again", Kind.DAMAGED)
    return files


def _files(sitk: ModuleType, folder: Path, name: str) -> list[Path]:
    return [Path(p) for p in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), name)]


def _reader(sitk: ModuleType, path: Path) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return reader


def _read_header(sitk: ModuleType, path: Path) -> _Slice:
    reader = _reader(sitk, path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise CaseError(f"{path}: cut or damaged DICOM; fetch it again", Kind.DAMAGED) from error
    modality = reader.GetMetaData(MODALITY).strip() if reader.HasMetaDataKey(MODALITY) else "none"
    if modality != "CT":
        raise CaseError(f"{path}: modality {modality}; expected CT", Kind.NOT_HU)
    for key, name in ((POSITION, "ImagePositionPatient"), (ORIENTATION, "ImageOrientationPatient")):
        if not reader.HasMetaDataKey(key):
            raise CaseError(
                f"{path}: no {name}; expected a series of single axial slices, "
                "not a multi-frame file or a picture of the screen",
                Kind.NO_ORIENTATION,
            )
    columns, rows = reader.GetSize()[:2]
    column_mm, row_mm = reader.GetSpacing()[:2]
    axes = np.array(reader.GetMetaData(ORIENTATION).split("\\"), np.float64).reshape(2, 3).T
    if not _is_whole(path, columns * rows * int(reader.GetMetaData(BITS)) // 8):
        raise CaseError(f"{path}: cut or damaged DICOM; fetch it again", Kind.DAMAGED)
    return _Slice(
        path=path,
        size=(columns, rows),
        spacing_mm=(column_mm, row_mm),
        position=np.array(reader.GetMetaData(POSITION).split("\\"), np.float64),
        axes=axes,
    )


def _is_whole(path: Path, n_bytes: int) -> bool:
    """Whether all pixels are there: a reader fills up with zeros and says nothing.

    Compressed pixels are left to their decoder, which does say so.
    """
    content = path.read_bytes()
    at = content.find(PIXEL_DATA)
    while at >= 0:
        for begin in (at + 8, at + 12):  # implicit and explicit types of value
            length = int.from_bytes(content[begin - 4 : begin], "little")
            ends_inside = begin + n_bytes <= len(content)
            if length == UNDEFINED_LENGTH or (length == n_bytes + n_bytes % 2 and ends_inside):
                return True
        at = content.find(PIXEL_DATA, at + 4)
    return False


def _read_pixels(sitk: ModuleType, path: Path) -> NDArray[Any]:  # (rows, columns), HU
    try:
        image = _reader(sitk, path).Execute()
    except RuntimeError as error:
        raise CaseError(f"{path}: cut or damaged DICOM; fetch it again", Kind.DAMAGED) from error
    values: NDArray[Any] = sitk.GetArrayViewFromImage(image)
    return values.reshape(values.shape[-2:]).copy()


def _in_order(folder: Path, slices: Sequence[_Slice]) -> list[_Slice]:
    """Slices along their normal, once they are known to make one even stack."""
    first = slices[0]
    for one in slices:
        same = np.allclose(one.axes, first.axes, atol=1e-4)
        if (one.size, one.spacing_mm) != (first.size, first.spacing_mm) or not same:
            raise CaseError(
                f"{one.path}: another size, spacing or direction than {first.path.name}; "
                "expected the slices of one series, without localizers",
                Kind.GRID,
            )
    if len(slices) < 2:
        raise CaseError(f"{folder}: one slice; expected a whole series", Kind.NOT_3D)
    normal = np.cross(first.axes[:, 0], first.axes[:, 1])
    ordered = sorted(slices, key=lambda one: float(one.position @ normal))
    _check_steps(folder, np.diff([one.position for one in ordered], axis=0), normal)
    return ordered


def _check_steps(
    folder: Path,
    steps: NDArray[np.float64],  # (N - 1, 3) mm, from slice to slice
    normal: NDArray[np.float64],
) -> None:
    along_mm = steps @ normal
    usual_mm = float(np.median(along_mm))
    uneven = np.abs(along_mm - usual_mm) > SLICE_TOLERANCE * max(usual_mm, 1e-3)
    if uneven.any() or usual_mm <= 0:
        place = int(np.argmax(uneven))
        raise CaseError(
            f"{folder}: {along_mm[place]:.2f} mm between slices {place + 1} and {place + 2}, "
            f"elsewhere {usual_mm:.2f} mm; expected even ones, none missing or doubled",
            Kind.SPACING,
        )
    aside = np.linalg.norm(steps - along_mm[:, None] * normal, axis=1) / along_mm
    if aside.max() > TILT_TOLERANCE:
        raise CaseError(
            f"{folder}: slices shifted against each other, as by a tilted gantry; "
            "resample the series to right angles",
            Kind.SHEARED,
        )


def _geometry(slices: Sequence[_Slice]) -> Geometry:
    """The geometry of a NIfTI file of (columns, rows, slices) with these slices."""
    first, last = slices[0], slices[-1]
    columns, rows = first.size
    affine = np.eye(4)
    affine[:3, :2] = first.axes * np.array(first.spacing_mm)
    affine[:3, 2] = (last.position - first.position) / (len(slices) - 1)
    affine[:3, 3] = first.position
    affine[:3] = LPS_TO_RAS @ affine[:3]
    header = nib.Nifti1Header()
    header.set_data_shape((columns, rows, len(slices)))
    header.set_data_dtype(np.int16)
    header.set_xyzt_units("mm")
    header.set_sform(affine, SCANNER)
    header.set_qform(affine, SCANNER)
    orientation = ornt_transform(io_orientation(affine), axcodes2ornt(CANONICAL_AXES))
    axes = np.argsort(orientation[:, 0])
    sizes = np.array([columns, rows, len(slices)])[axes]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[axes]
    return Geometry(
        header=header,
        affine=affine,
        to_canonical=orientation,
        shape=(int(sizes[0]), int(sizes[1]), int(sizes[2])),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
    )
