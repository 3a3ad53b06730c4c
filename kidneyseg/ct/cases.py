"""Cases: a scan and its labels, of one patient."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.findings import CaseError, Kind
from kidneyseg.ct.layouts import CaseFiles, list_files
from kidneyseg.ct.volumes import Geometry, read_labels, read_scan

GRID_TOLERANCE_MM = 0.1  # between corners; a qform and an sform of the same grid differ by less


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Where a case's two files lie."""

    name: str
    imaging: Path
    segmentation: Path
    patient: str = ""  # whose cases stay together; empty becomes the case's name

    def __post_init__(self) -> None:
        if not self.patient:
            object.__setattr__(self, "patient", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseVolumes:
    """A case, read and checked; axes canonical."""

    scan_hu: NDArray[np.int16]  # (slices, rows, columns)
    kidney: NDArray[np.bool_]  # same shape; kidney and what counts as it
    geometry: Geometry  # of the scan


def list_cases(data: Path) -> list[Case]:
    """List the labelled cases of a data folder or table (`kidneyseg.ct.layouts`), by name.

    Cases without labels are left out. Raises DataError where `list_files` does, and for a file
    that is missing.
    """
    cases = []
    for files in list_files(data):
        if files.segmentation is None:
            continue
        if files.imaging is None:
            raise missing_scan(files)
        for path in (files.imaging, files.segmentation):
            if not path.is_file():
                raise CaseError(f"{path}: no such file, named in {data}", Kind.MISSING)
        case = Case(
            name=files.name,
            imaging=files.imaging,
            segmentation=files.segmentation,
            patient=files.patient,
        )
        cases.append(case)
    return cases


def read_case(
    case: Case, kidney_labels: tuple[int, ...], other_labels: tuple[int, ...] = ()
) -> CaseVolumes:
    """Read scan and labels; every voxel with one of `kidney_labels` is kidney.

    Raises DataError when either file is damaged, their grids differ, a label is unknown
    (neither 0 nor one of those given), or no voxel is kidney.
    """
    labels = read_labels(case.segmentation)
    scan = read_scan(case.imaging)
    check_same_grid(case.segmentation, scan.geometry, labels.geometry)
    voxels = labels.array.ravel(order="K")
    present = set(np.unique(voxels[voxels > 0]).tolist())
    check_labels(case.segmentation, present, kidney_labels, other_labels)
    if present.isdisjoint(kidney_labels):
        raise no_kidney(case.segmentation)
    if present <= {*kidney_labels}:
        kidney = labels.array > 0
    else:
        kidney = np.isin(np.arange(256), kidney_labels)[labels.array]
    return CaseVolumes(scan_hu=scan.array, kidney=kidney, geometry=scan.geometry)


def check_labels(
    path: Path,
    present: Collection[int],
    kidney_labels: tuple[int, ...],
    other_labels: tuple[int, ...] = (),
) -> None:
    """Refuse labels that are neither 0 nor one of those given. Raises CaseError."""
    unknown = set(present) - {0, *kidney_labels, *other_labels}
    if unknown:
        raise CaseError(
            f"{path}: holds the labels {sorted(unknown)}; expected 0 and "
            f"{list(kidney_labels)} (data.kidney_labels) or {list(other_labels)} "
            "(data.other_labels: known, counted as background)",
            Kind.UNKNOWN_LABELS,
        )


def check_same_grid(path: Path, scan: Geometry, labels: Geometry) -> None:
    """Refuse labels, the file at `path`, that do not lie on the scan's grid. Raises CaseError."""
    if scan.shape != labels.shape:
        raise CaseError(
            f"{path}: shape {labels.shape} (slices, rows, columns); expected the "
            f"scan's {scan.shape}",
            Kind.GRID,
        )
    gap_mm = _gap_mm(scan, labels)
    if gap_mm > GRID_TOLERANCE_MM:
        raise CaseError(
            f"{path}: its affine puts a corner {gap_mm:.3g} mm from the scan's; "
            f"expected at most {GRID_TOLERANCE_MM} mm: label the scan on its own grid",
            Kind.GRID,
        )


def missing_scan(files: CaseFiles) -> CaseError:
    """The error of labels without their scan."""
    return CaseError(
        f"{files.place}: no {files.scan_name} beside the segmentation; fetch it again", Kind.MISSING
    )


def no_kidney(path: Path) -> CaseError:
    """The error of a label map at `path` without kidney."""
    return CaseError(f"{path}: no voxel is kidney; leave the case out or label it", Kind.NO_KIDNEY)


def _gap_mm(first: Geometry, second: Geometry) -> float:
    """How far apart the same corner of two grids of one shape can lie."""
    corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)])  # (8, 4)
    corners[:, :3] *= np.array(first.shape) - 1
    gaps = corners @ (first.canonical_affine - second.canonical_affine)[:3].T
    return float(np.linalg.norm(gaps, axis=1).max())
