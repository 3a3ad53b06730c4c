"""Where kept models and pictures lie: a folder, or an S3-compatible store.

What is written to either is there whole or not at all.
"""

from pathlib import Path
from typing import BinaryIO, Protocol

from kidneyseg.errors import SettingsError
from kidneyseg.runs import Runs
from kidneyseg.search.folder_store import FolderStore
from kidneyseg.settings import CommonSettings


class ArtifactStore(Protocol):
    """Optuna's three calls of an artifact store, and its name.

    All raise StorageLostError when the store is away, StorageError for an id that is none.
    """

    @property
    def address(self) -> str:
        """What people call it."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an artifact. Raises Optuna's ArtifactNotFound."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write an artifact, whole or not at all."""

    def remove(self, artifact_id: str) -> None:
        """Remove an artifact. May raise ArtifactNotFound where there is none."""


def open_artifacts(common: CommonSettings, runs: Runs) -> ArtifactStore:
    """Open the store that the settings name; without one, the folder below `runs/`.

    Raises SettingsError for a place that cannot be one or where boto3 is missing, StorageError for
    an S3 store that is not there.
    """
    address = common.artifacts
    if address is not None and address.startswith("s3://"):
        return _open_s3(address)
    folder = runs.artifacts if address is None else Path(address)
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"common.artifacts = {folder}: a file; expected a folder")
    return FolderStore(folder)


def _open_s3(address: str) -> ArtifactStore:
    try:
        from kidneyseg.search.s3_store import connect
    except ImportError:
        raise SettingsError(
            f"common.artifacts = {address}: needs boto3; install it with kidneyseg[s3]"
        ) from None
    return connect(address)
