"""The slices that trials and workers share: prepared once, memory-mapped, read-only.

One folder per prepared case, named by what made it (the two files' contents, the settings of this
step, the version of its code):

    <case>-<key>/images.npy     (N, rows, columns) int16, HU
    <case>-<key>/labels.npy     (N, rows, columns) uint8, share of kidney x LABEL_SCALE
    <case>-<key>/manifest.json  sizes and hashes of both, written last
    locks/<case>-<key>          held while a process builds it
    fingerprints/               remembered hashes of the source files

A folder is built under a temporary name and renamed: what is there is whole.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import ValidationError

from kidneyseg.ct.cases import read_case
from kidneyseg.ct.fingerprints import CaseFingerprint, Fingerprints, digest
from kidneyseg.ct.preparation import (
    LABEL_SCALE,
    PREPARATION_VERSION,
    PreparedSlices,
    prepare_slices,
)
from kidneyseg.errors import DataError
from kidneyseg.files import replacing_folder
from kidneyseg.settings import DataSettings, Part

MADE_BY = ("kidney_labels", "downsampling", "spacing_mm", "margin_slices")


class StoredArray(Part):
    """An array's file in the cache."""

    shape: tuple[int, int, int]  # (N, rows, columns)
    n_bytes: int
    sha256: str


class Manifest(Part):
    """What a prepared case's folder holds."""

    case: str
    images: StoredArray
    labels: StoredArray
    first_slice: int
    spacing_mm: tuple[float, float, float]  # (slice, row, column)
    kidney_fraction: float  # of the pixels of the kept slices


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCase:
    """A case in the cache."""

    name: str
    folder: Path
    manifest: Manifest

    def images(self) -> NDArray[np.int16]:  # (N, rows, columns), HU
        """The memory-mapped, read-only images."""
        images: NDArray[np.int16] = _map(self.folder / "images.npy")
        return images

    def labels(self) -> NDArray[np.uint8]:  # (N, rows, columns), 0..LABEL_SCALE
        """The memory-mapped, read-only labels."""
        labels: NDArray[np.uint8] = _map(self.folder / "labels.npy")
        return labels


class SliceCache:
    """Prepared cases below one folder, for one set of data settings."""

    def __init__(self, folder: Path, settings: DataSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.fingerprints = Fingerprints(folder / "fingerprints")

    def prepare(self, cases: Sequence[CaseFingerprint]) -> Iterator[PreparedCase]:
        """Yield each case from the cache, built first where it is missing or damaged.

        Raises DataError for a case that cannot be used; cases before it stay prepared.
        """
        for case in cases:
            folder = self.folder / f"{case.case.name}-{self.key(case)[:16]}"
            yield self._open(case, folder) or self._build(case, folder)

    def key(self, case: CaseFingerprint) -> str:
        """SHA-256 of all that makes the prepared slices of a case what they are."""
        settings = self.settings.model_dump(include=set(MADE_BY), mode="json")
        made_by = (f"{name}={settings[name]}" for name in MADE_BY)
        return digest((str(PREPARATION_VERSION), case.imaging, case.segmentation, *made_by))

    def _build(self, case: CaseFingerprint, folder: Path) -> PreparedCase:
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / folder.name):
            made_meanwhile = self._open(case, folder)
            if made_meanwhile is not None:
                return made_meanwhile
            volumes = read_case(case.case, self.settings.kidney_labels)
            with replacing_folder(folder) as temporary:
                _store(temporary, case.case.name, prepare_slices(volumes, self.settings))
        built = self._open(case, folder)
        if built is None:
            raise DataError(f"{folder}: what was just prepared is not there; is the disk full?")
        return built

    def _open(self, case: CaseFingerprint, folder: Path) -> PreparedCase | None:
        """Open a prepared case; None where it is missing or its files have the wrong size."""
        try:
            manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
            for name, stored in (("images", manifest.images), ("labels", manifest.labels)):
                if (folder / f"{name}.npy").stat().st_size != stored.n_bytes:
                    return None
        except (OSError, ValidationError, UnicodeDecodeError):
            return None
        return PreparedCase(name=case.case.name, folder=folder, manifest=manifest)


def _map(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _store(folder: Path, case: str, slices: PreparedSlices) -> None:
    manifest = Manifest(
        case=case,
        images=_store_array(folder / "images.npy", slices.images),
        labels=_store_array(folder / "labels.npy", slices.labels),
        first_slice=slices.first_slice,
        spacing_mm=slices.spacing_mm,
        kidney_fraction=float(slices.labels.mean()) / LABEL_SCALE,
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n")


def _store_array(path: Path, array: NDArray[np.generic]) -> StoredArray:
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)
    path.chmod(0o444)
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    n, rows, columns = array.shape
    return StoredArray(shape=(n, rows, columns), n_bytes=path.stat().st_size, sha256=sha256)
