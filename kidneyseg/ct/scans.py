"""Scans as people have them: NIfTI files and DICOM series, in a file or a folder."""

from pathlib import Path

import numpy as np

from kidneyseg.ct.dicom import is_dicom, read_series
from kidneyseg.ct.findings import CaseError, Kind
from kidneyseg.ct.hounsfield import NARROWEST_HU, judge_values, measure_values
from kidneyseg.ct.volumes import Volume, read_scan
from kidneyseg.errors import DataError

NIFTI = (".nii", ".nii.gz")


def read_any(path: Path) -> Volume[np.int16]:
    """Read a scan in HU: a NIfTI file, or a folder with one DICOM series. Raises DataError."""
    return read_series(path) if path.is_dir() else read_scan(path)


def is_series(path: Path) -> bool:
    """Whether a folder holds DICOM files itself."""
    return path.is_dir() and any(is_dicom(file) for file in path.iterdir())


def find_scans(folder: Path) -> list[Path]:
    """All scans in a folder, by name: its NIfTI files, and its folders with DICOM in them.

    Raises DataError where there is none.
    """
    found = sorted(
        path for path in folder.iterdir() if _is_nifti(path) or (path.is_dir() and is_series(path))
    )
    if not found:
        raise DataError(
            f"{folder}: no scan in it; expected .nii or .nii.gz files, or folders of DICOM slices"
        )
    return found


def check_hu(path: Path, scan: Volume[np.int16], window: tuple[float, float]) -> str | None:
    """Refuse values that cannot be HU; say what is odd about others, or None.

    `window` is what the network sees. Raises CaseError.
    """
    values = measure_values(scan.array, None)
    verdict = judge_values(values, window)
    if verdict is None:
        return None
    _, words = verdict
    if values.low >= 0 or values.high - values.low < NARROWEST_HU:
        raise CaseError(f"{path}: not HU: {words}", Kind.NOT_HU)
    return words


def _is_nifti(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.is_file() and path.name.endswith(NIFTI) and not hidden
