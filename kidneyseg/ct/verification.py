"""Every case of a data folder, checked: errors to mend, and notes of what is odd but right.

A case is read once, labels first, and only what later checks need of it is kept. What reading
itself refuses becomes a finding. Duplicates are found at the end, by a hash of the voxels in
canonical order, so that neither another compression nor another orientation hides them.
"""

import hashlib
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.anatomy import LabelBox, count_labels, cut_to_labels, note_anatomy
from kidneyseg.ct.cases import check_labels, check_same_grid, missing_scan, no_kidney
from kidneyseg.ct.findings import CaseError, Finding, Kind, sorted_findings
from kidneyseg.ct.hounsfield import judge_values, measure_values
from kidneyseg.ct.layouts import CaseFiles
from kidneyseg.ct.process_pool import Died, count_processes, work_on_each
from kidneyseg.ct.volumes import Geometry, read_labels, read_scan
from kidneyseg.settings import DataSettings

MOST_OBLIQUE_DEGREES = (
    20.0  # between the slice axis and the patient's; beyond it slices are oblique
)
MOST_OBLONG = 1.05  # a CT's pixels are square: others come from coronal, sagittal or cut series
TILE = 64  # voxels; a tile fits into a processor's cache in either order
MEMORY_EACH = 3 * 2**30  # bytes for one process; the largest scan of KiTS19 takes 1.7 of them


@dataclass(slots=True, kw_only=True)
class CheckedCase:
    """What was found in a case, and hashes of its voxels where they could be read."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    scan_hash: str | None = None
    labels_hash: str | None = None

    def add(self, kind: Kind, message: str) -> None:
        """Take a finding in; the same kind of note once, though both files give it."""
        finding = Finding(case=self.name, kind=kind, message=message)
        if finding.is_error or kind not in [known.kind for known in self.findings]:
            self.findings.append(finding)

    @contextmanager
    def taking_errors(self, path: Path) -> Iterator[None]:
        """Turn what is raised about the file at `path` into findings."""
        try:
            yield
        except CaseError as error:
            self.add(error.kind, str(error))
        except MemoryError as error:
            self.add(Kind.OUT_OF_MEMORY, f"{path}: not enough memory to read it ({error})")
        except Exception as error:  # noqa: BLE001 - one strange file must not end all the checks
            words = " ".join(f"{type(error).__name__}: {error}".split())
            self.add(Kind.UNREADABLE, f"{path}: unexpected {words}")


def check_cases(
    cases: Sequence[CaseFiles], settings: DataSettings, *, labels_only: bool = False
) -> Generator[CheckedCase, None, None]:
    """Check many cases at a time, each in a process; yield them as they are done.

    A case whose process dies is answered too, with that as its finding.
    """
    work = partial(check_case, settings=settings, labels_only=labels_only)
    n_processes = count_processes(len(cases), MEMORY_EACH)
    with closing(work_on_each(work, cases, n_processes)) as answers:
        for files, answer in answers:
            yield _not_checked(files, answer) if isinstance(answer, Died) else answer


def check_case(
    files: CaseFiles, settings: DataSettings, *, labels_only: bool = False
) -> CheckedCase:
    """Check one case: its labels, then its scan, then both together."""
    checked = CheckedCase(name=files.name)
    if files.segmentation is None:
        what = "neither scan nor labels" if files.imaging is None else "no labels"
        checked.add(Kind.LEFT_OUT, f"{files.place}: {what}: not used in training")
        return checked
    box = None
    with checked.taking_errors(files.segmentation):
        box = _check_labels(checked, files.segmentation, settings)
    if labels_only:
        return checked
    with checked.taking_errors(files.imaging or files.place):
        if files.imaging is None:
            raise missing_scan(files)
        _check_scan(checked, files.imaging, files.segmentation, box, settings)
    return checked


def find_duplicates(checked: Iterable[CheckedCase]) -> list[Finding]:
    """Find cases whose scans, or else labels, hold the same voxels as an earlier case's."""
    earlier: dict[tuple[str, str], str] = {}
    found = []
    for case in sorted(checked, key=lambda case: case.name):
        same = []
        for what, hash_ in (("scan", case.scan_hash), ("labels", case.labels_hash)):
            if hash_ is not None:
                first = earlier.setdefault((what, hash_), case.name)
                same += [f"the {what} of {first}"] if first != case.name else []
        if same:
            message = f"holds the same voxels as {' and '.join(same)}"
            found.append(Finding(case=case.name, kind=Kind.DUPLICATE, message=message))
    return found


def collect_findings(checked: Iterable[CheckedCase]) -> list[Finding]:
    """All findings of all cases and the duplicates among them: errors first, by kind and case."""
    cases = list(checked)
    of_cases = [finding for case in cases for finding in case.findings]
    return sorted_findings(of_cases + find_duplicates(cases))


def _not_checked(files: CaseFiles, died: Died) -> CheckedCase:
    checked = CheckedCase(name=files.name)
    checked.add(
        Kind.OUT_OF_MEMORY,
        f"{files.place}: the process that read it died (exit code {died.exit_code}), "
        "for want of memory as a rule",
    )
    return checked


def _check_labels(checked: CheckedCase, path: Path, settings: DataSettings) -> LabelBox | None:
    """Check a label map; None where no voxel is kidney."""
    volume = read_labels(path)
    _check_geometry(checked, path, volume.geometry)
    box = cut_to_labels(volume)
    del volume
    counts = count_labels(box)
    with checked.taking_errors(path):
        present = np.flatnonzero(counts).tolist()
        check_labels(path, present, settings.kidney_labels, settings.other_labels)
    if not counts[list(settings.kidney_labels)].any():
        raise no_kidney(path)
    place = f"{box.geometry.shape} {box.first} {box.labels.shape}".encode()
    checked.labels_hash = hashlib.sha256(place + box.labels.tobytes()).hexdigest()
    for kind, message in note_anatomy(box, settings.kidney_labels, settings.tumor_labels):
        checked.add(kind, message)
    return box


def _check_scan(
    checked: CheckedCase,
    path: Path,
    labels_path: Path,
    box: LabelBox | None,
    settings: DataSettings,
) -> None:
    """Check a scan, and its labels' grid against its own."""
    volume = read_scan(path)
    _check_geometry(checked, path, volume.geometry)
    kidney_hu = None
    if box is not None:
        with checked.taking_errors(labels_path):
            check_same_grid(labels_path, volume.geometry, box.geometry)
            kidney_hu = volume.array[box.place][np.isin(box.labels, settings.kidney_labels)]
    verdict = judge_values(measure_values(volume.array, kidney_hu), settings.hu_window)
    if verdict is not None:
        kind, message = verdict
        checked.add(kind, f"{path}: {message}")
    checked.scan_hash = hash_voxels(volume.array)


def hash_voxels(array: NDArray[np.generic]) -> str:  # (slices, rows, columns)
    """SHA-256 of shape and voxels, the same however the array lies in memory."""
    n_slices, rows, columns = array.shape
    sha256 = hashlib.sha256(f"{array.shape}".encode())
    for column in range(0, columns, TILE):
        for row in range(0, rows, TILE):
            for first in range(0, n_slices, TILE):
                place = np.s_[first : first + TILE, row : row + TILE, column : column + TILE]
                sha256.update(np.ascontiguousarray(array[place]).data)
    return sha256.hexdigest()


def _check_geometry(checked: CheckedCase, path: Path, geometry: Geometry) -> None:
    """Check what reading accepts: unknown orientation, other slices than axial, odd shapes."""
    has_sform, has_qform = (int(geometry.header[f"{form}_code"]) > 0 for form in ("sform", "qform"))
    if not has_sform and not has_qform:
        checked.add(Kind.NO_ORIENTATION, f"{path}: neither sform nor qform; expected one of them")
    elif not has_sform:
        checked.add(Kind.QFORM_ONLY, f"{path.name}: its affine stands in the qform alone")
    _, rows, columns = geometry.shape
    if rows != columns:
        checked.add(Kind.NOT_SQUARE, f"{path.name}: slices of {rows} x {columns} pixels")
    for message in _not_axial(geometry):
        checked.add(Kind.NOT_AXIAL, f"{path}: {message}")


def _not_axial(geometry: Geometry) -> Iterator[str]:
    """Say why slices are not axial ones of a CT.

    An affine tells a tilt. A coronal or sagittal series, in the canonical axes, has its slice
    distance in the plane, where a CT's pixels are square. (Thin axial slices are finer than their
    pixels in KiTS19 too, so that the coarsest axis alone proves nothing.)
    """
    axis = geometry.canonical_affine[:3, 0]
    tilt = math.degrees(math.acos(min(1.0, abs(axis[2]) / float(np.linalg.norm(axis)))))
    if tilt > MOST_OBLIQUE_DEGREES:
        yield (
            f"slices tilted by {tilt:.0f} degrees from the patient's axis; "
            f"expected at most {MOST_OBLIQUE_DEGREES:.0f}"
        )
    _, row_mm, column_mm = geometry.spacing_mm
    if max(row_mm, column_mm) > MOST_OBLONG * min(row_mm, column_mm):
        series = "a coronal" if row_mm > column_mm else "a sagittal"
        yield (
            f"axial pixels of {row_mm:.3g} x {column_mm:.3g} mm, as in {series} series; "
            "expected square ones"
        )
