"""A prepared case's folder: two arrays, memory-mapped and read-only, and what is known of them.

images.npy     (N, rows, columns) int16, HU
labels.npy     (N, rows, columns) uint8, share of kidney x LABEL_SCALE
manifest.json  what made both, their sizes and hashes; written last
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.fingerprints import digest, file_sha256
from kidneyseg.ct.preparation import LABEL_SCALE, PreparedSlices
from kidneyseg.settings import Part


class StoredArray(Part):
    """An array's file in the cache."""

    shape: tuple[int, int, int]  # (N, rows, columns)
    n_bytes: int
    sha256: str


class MadeBy(Part):
    """All that makes the prepared slices of a case what they are."""

    imaging: str  # SHA-256 of the file
    segmentation: str
    version: int  # of preparation's code
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        """SHA-256 of it all."""
        settings = (f"{name}={self.settings[name]}" for name in sorted(self.settings))
        return digest((str(self.version), self.imaging, self.segmentation, *settings))


class Manifest(Part):
    """What a prepared case's folder holds."""

    case: str
    made_by: MadeBy
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

    def is_whole(self, *, hashes: bool) -> bool:
        """Whether both files have the size, and if asked the hash, that the manifest tells."""
        manifest = self.manifest
        for name, stored in (("images", manifest.images), ("labels", manifest.labels)):
            path = self.folder / f"{name}.npy"
            if not path.is_file() or path.stat().st_size != stored.n_bytes:
                return False
            if hashes and file_sha256(path) != stored.sha256:
                return False
        return True


def store_case(folder: Path, case: str, made_by: MadeBy, slices: PreparedSlices) -> None:
    """Write a case's two arrays and its manifest into a folder."""
    manifest = Manifest(
        case=case,
        made_by=made_by,
        images=_store_array(folder / "images.npy", slices.images),
        labels=_store_array(folder / "labels.npy", slices.labels),
        first_slice=slices.first_slice,
        spacing_mm=slices.spacing_mm,
        kidney_fraction=float(slices.labels.mean()) / LABEL_SCALE,
    )
    (folder / "manifest.json").write_text(
        manifest.model_dump_json(indent=2) + "\n", encoding="utf-8"
    )


def _map(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _store_array(path: Path, array: NDArray[np.generic]) -> StoredArray:
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)
    path.chmod(0o444)
    n, rows, columns = array.shape
    return StoredArray(
        shape=(n, rows, columns), n_bytes=path.stat().st_size, sha256=file_sha256(path)
    )
