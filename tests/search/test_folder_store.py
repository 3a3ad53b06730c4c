"""Artifacts in a folder: whole or not at all, and nowhere else."""

import io
import os
import threading
from pathlib import Path
from typing import BinaryIO

import pytest
from optuna.artifacts.exceptions import ArtifactNotFound

from kidneyseg.errors import SettingsError, StorageError, StorageLostError
from kidneyseg.runs import Runs
from kidneyseg.search.artifact_stores import open_artifacts
from kidneyseg.search.folder_store import FolderStore
from kidneyseg.settings import CommonSettings

CONTENT = b"weights" * 100_000
ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


class Torn(io.BytesIO):
    """A file whose second half cannot be read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > len(CONTENT) // 2:
            raise ConnectionAbortedError("torn")
        return super().read(size)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


def read(store: FolderStore, artifact_id: str) -> bytes:
    with store.open_reader(artifact_id) as reader:
        return reader.read()


def test_what_is_written_is_read_and_removed(store: FolderStore) -> None:
    store.write(ID, io.BytesIO(CONTENT))
    assert read(store, ID) == CONTENT
    store.remove(ID)
    assert list(store.folder.iterdir()) == []


def test_what_is_not_there_is_not_found(store: FolderStore) -> None:
    for call in (store.open_reader, store.remove):
        with pytest.raises(ArtifactNotFound):
            call(ID)


@pytest.mark.parametrize(
    "artifact_id",
    ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "~", ".hidden", "-x", "a\n"],
)
def test_ids_that_leave_the_folder_are_refused(
    store: FolderStore, tmp_path: Path, artifact_id: str
) -> None:
    calls = (store.open_reader, store.remove, lambda name: store.write(name, io.BytesIO(b"x")))
    for call in calls:
        with pytest.raises(StorageError, match="expected an id of letters"):
            call(artifact_id)
    assert list(tmp_path.iterdir()) == []


def test_a_torn_upload_leaves_nothing(store: FolderStore) -> None:
    with pytest.raises(StorageLostError):
        store.write(ID, Torn(CONTENT))
    assert list(store.folder.iterdir()) == []
    with pytest.raises(ArtifactNotFound):
        store.open_reader(ID)


def test_a_torn_upload_leaves_what_was_there(store: FolderStore) -> None:
    store.write(ID, io.BytesIO(b"before"))
    with pytest.raises(StorageLostError):
        store.write(ID, Torn(CONTENT))
    assert read(store, ID) == b"before"


class Slow(io.BytesIO):
    """A file that stops in the middle until it is told to go on."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.halfway, self.go_on = threading.Event(), threading.Event()

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > len(CONTENT) // 2:
            self.halfway.set()
            assert self.go_on.wait(10)
        return super().read(size)


def test_an_upload_in_progress_is_not_seen(store: FolderStore) -> None:
    body = Slow(CONTENT)
    upload = threading.Thread(target=store.write, args=(ID, body))
    upload.start()
    assert body.halfway.wait(10)
    with pytest.raises(ArtifactNotFound):
        store.open_reader(ID)
    body.go_on.set()
    upload.join()
    assert read(store, ID) == CONTENT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_told_in_one_line(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_full(path: Path, mode: str) -> BinaryIO:
        return os.fdopen(os.open("/dev/full", os.O_WRONLY), mode)  # type: ignore[return-value]

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(StorageLostError) as caught:
        store.write(ID, io.BytesIO(CONTENT))
    assert str(caught.value) == (
        f"{store.folder}: an artifact cannot be kept or read (No space left on device); expected "
        "a folder of yours with room"
    )


def test_the_store_is_where_the_settings_say(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    assert open_artifacts(CommonSettings(), runs).address == str(tmp_path / "artifacts")
    named = CommonSettings(artifacts=str(tmp_path / "elsewhere"))
    assert open_artifacts(named, runs).address == str(tmp_path / "elsewhere")


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("mine", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"common\.artifacts = .*: a file; expected a folder"):
        open_artifacts(CommonSettings(), Runs(tmp_path))
