"""Artifacts as files of a folder.

Optuna's own folder store leaves a torn file behind when it is killed; here a file is written under
a temporary name and renamed.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound

from kidneyseg.errors import StorageError, StorageLostError
from kidneyseg.files import replacing

ARTIFACT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")


class FolderStore:
    """Artifacts as files of a folder, named by their ids."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def address(self) -> str:
        """What people call it."""
        return str(self.folder)

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an artifact. Raises ArtifactNotFound."""
        with self._reached():
            return self._path(artifact_id).open("rb")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write an artifact, whole or not at all."""
        with (
            self._reached(),
            replacing(self._path(artifact_id)) as temporary,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(content_body, file)

    def remove(self, artifact_id: str) -> None:
        """Remove an artifact. Raises ArtifactNotFound."""
        with self._reached():
            self._path(artifact_id).unlink()

    def _path(self, artifact_id: str) -> Path:
        return self.folder / check_artifact_id(artifact_id)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise ArtifactNotFound(f"not in {self.address}") from error
        except OSError as error:
            raise StorageLostError(
                f"{self.address}: an artifact cannot be kept or read ({error.strerror or error}); "
                "expected a folder of yours with room"
            ) from error


def check_artifact_id(artifact_id: str) -> str:
    """Return an id that can be a file's name. Raises StorageError for any other."""
    if not ARTIFACT_ID.fullmatch(artifact_id):
        raise StorageError(f"artifact {artifact_id!r}: expected an id of letters, digits and '-'")
    return artifact_id
