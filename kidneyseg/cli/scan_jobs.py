"""Which scans `kidneyseg predict` was given, where their masks go, and what came of each."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kidneyseg.errors import DataError, KidneysegError

if TYPE_CHECKING:
    from kidneyseg.model.folder import Model
    from kidneyseg.model.scan_prediction import PredictedScan, PredictionOptions

NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A scan, and where its mask goes."""

    scan: Path  # a NIfTI file or a folder of DICOM slices
    mask: Path


class Results:
    """What came of the scans so far; each is told as it comes."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._scans: list[dict[str, Any]] = []
        self._written = self._skipped = self.failed = 0

    def add(self, predicted: "PredictedScan") -> None:
        """A mask was written."""
        self._written += 1
        self._scans.append(predicted.as_json())
        if not self._as_json:
            typer.echo(predicted.in_words())
        if predicted.spread is not None:
            typer.echo(predicted.spread.in_words(), err=True)
        for note in predicted.notes:
            typer.echo(f"{predicted.scan}: {note}", err=True)

    def skip(self, job: Job) -> None:
        """A mask was there."""
        self._skipped += 1
        self._scans.append({"scan": str(job.scan), "mask": str(job.mask), "skipped": True})

    def fail(self, job: Job, error: Exception) -> None:
        """A scan could not be predicted; others go on."""
        self.failed += 1
        reason = " ".join(str(error).split()) or type(error).__name__
        self._scans.append({"scan": str(job.scan), "error": reason})
        typer.echo(f"failed: {reason}", err=True)

    def as_json(self) -> dict[str, Any]:
        """What programs read."""
        return {
            "written": self._written,
            "skipped": self._skipped,
            "failed": self.failed,
            "scans": self._scans,
        }

    def in_words(self) -> str:
        """One line at the end of many scans."""
        there = f", {self._skipped} were there (--overwrite replaces them)" * bool(self._skipped)
        return f"{self._written} masks written{there}, {self.failed} scans failed"


def find_jobs(scan: Path, mask: Path) -> tuple[list[Job], bool]:
    """The scans to predict, and whether they were asked for as a folder. Raises DataError."""
    from kidneyseg.ct.scans import find_scans, is_series

    if scan.is_dir() and not is_series(scan):
        jobs = [_in_folder(one, mask) for one in find_scans(_check_folders(scan, mask))]
        _check_names(jobs)
        return jobs, True
    if not mask.name.endswith(NIFTI):
        raise DataError(f"{mask}: expected a name that ends in .nii or .nii.gz")
    if not scan.exists():
        raise DataError(f"{scan}: no such scan")
    if mask.is_dir():
        raise DataError(f"{mask}: is a folder; expected the name of a file for the mask")
    if mask.exists() and mask.samefile(scan):
        raise DataError(f"{mask}: is the scan itself; expected another name for the mask")
    _check_writable(mask.parent)
    return [Job(scan=scan, mask=mask)], False


def predict_all(
    model: "Model",
    jobs: list[Job],
    asked: "PredictionOptions",
    results: Results,
    *,
    overwrite: bool,
) -> None:
    """Predict one scan after the other; one that fails does not stop the others."""
    from kidneyseg.model.scan_prediction import predict_scan

    for job in jobs:
        if job.mask.exists() and not overwrite:
            results.skip(job)
            continue
        try:
            results.add(predict_scan(model, job.scan, job.mask, asked))
        except (KidneysegError, OSError, MemoryError) as error:
            results.fail(job, error)


def _check_folders(scans: Path, masks: Path) -> Path:
    if masks.name.endswith(NIFTI) or masks.is_file():
        raise DataError(f"{masks}: expected a folder for the masks of all scans in {scans}")
    if masks.exists() and masks.samefile(scans):
        raise DataError(f"{masks}: holds the scans themselves; expected another folder for masks")
    _check_writable(masks)
    return scans


def _in_folder(scan: Path, masks: Path) -> Job:
    """The mask has its scan's name; that of a DICOM folder is compressed NIfTI."""
    name = f"{scan.name}.nii.gz" if scan.is_dir() else scan.name
    return Job(scan=scan, mask=masks / name)


def _check_names(jobs: list[Job]) -> None:
    """Refuse two scans whose masks would have one name: the second would look like done."""
    scan_of: dict[Path, Path] = {}
    for job in jobs:
        other = scan_of.setdefault(job.mask, job.scan)
        if other != job.scan:
            raise DataError(
                f"{other} and {job.scan}: both have the mask {job.mask}; rename one of them, or "
                "predict it alone"
            )


def _check_writable(folder: Path) -> None:
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    if not os.access(there, os.W_OK):
        raise DataError(f"{folder}: cannot be written; expected a folder of your own")
