"""Cases: one patient's scan and labels in a folder of KiTS19's layout."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.volumes import Geometry, read_labels, read_scan
from kidneyseg.errors import DataError

AFFINE_TOLERANCE_MM = 1e-2  # float noise between two headers of the same grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Where a case's two files lie."""

    name: str  # of its folder
    imaging: Path
    segmentation: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseVolumes:
    """A case, read and checked; axes canonical."""

    scan_hu: NDArray[np.int16]  # (slices, rows, columns)
    kidney: NDArray[np.bool_]  # same shape; kidney and what counts as it
    geometry: Geometry  # of the scan


def list_cases(folder: Path) -> list[Case]:
    """List the labelled cases below `folder`, by name. Cases without labels are left out.

    Raises DataError where there is no folder, or no labelled case in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such data folder; expected one with case folders as KiTS19")
    cases = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        imaging, segmentation = _file(place, "imaging"), _file(place, "segmentation")
        if imaging is not None and segmentation is not None:
            cases.append(Case(name=place.name, imaging=imaging, segmentation=segmentation))
        elif segmentation is not None:
            raise DataError(f"{place}: no imaging.nii.gz beside the segmentation; fetch it again")
    if not cases:
        raise DataError(
            f"{folder}: no labelled case; expected case_00000/imaging.nii.gz and "
            "segmentation.nii.gz, as in KiTS19"
        )
    return cases


def read_case(case: Case, kidney_labels: tuple[int, ...]) -> CaseVolumes:
    """Read scan and labels; every voxel with one of `kidney_labels` is kidney.

    Raises DataError when either file is damaged, their grids differ, a label is unknown
    (neither 0 nor one of `kidney_labels`), or no voxel is kidney.
    """
    labels = read_labels(case.segmentation)
    scan = read_scan(case.imaging)
    _check_same_grid(case, scan.geometry, labels.geometry)
    kidney = np.isin(labels.array, kidney_labels)
    unknown = set(np.unique(labels.array[~kidney]).tolist()) - {0}
    if unknown:
        raise DataError(
            f"{case.segmentation}: holds the labels {sorted(unknown)}; expected 0 and "
            f"{list(kidney_labels)} (data.kidney_labels)"
        )
    if not kidney.any():
        raise DataError(f"{case.segmentation}: no voxel is kidney; leave the case out or label it")
    return CaseVolumes(scan_hu=scan.array, kidney=kidney, geometry=scan.geometry)


def _file(place: Path, stem: str) -> Path | None:
    for name in (f"{stem}.nii.gz", f"{stem}.nii"):
        if (place / name).is_file():
            return place / name
    return None


def _check_same_grid(case: Case, scan: Geometry, labels: Geometry) -> None:
    if scan.shape != labels.shape:
        raise DataError(
            f"{case.segmentation}: shape {labels.shape} (slices, rows, columns); expected the "
            f"scan's {scan.shape}"
        )
    gap_mm = float(np.abs(scan.canonical_affine - labels.canonical_affine)[:3].max())
    if gap_mm > AFFINE_TOLERANCE_MM:
        raise DataError(
            f"{case.segmentation}: its affine differs from the scan's by {gap_mm:.3g} mm; "
            f"expected at most {AFFINE_TOLERANCE_MM} mm: label the scan on its own grid"
        )
