"""Deleting a study: first what would go, then its rows and its files.

Links are removed, never followed: nothing beyond the study's own folder goes.
"""

import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from optuna.artifacts.exceptions import ArtifactNotFound
from sqlalchemy import select

from kidneyseg.errors import KidneysegError, SettingsError, StudyError
from kidneyseg.runs import Runs
from kidneyseg.search.artifact_stores import open_artifacts
from kidneyseg.search.artifacts import PREFIX, attributes
from kidneyseg.search.orders import ask_to_stop
from kidneyseg.search.status import find_study_id, read_status
from kidneyseg.search.storage import Storage
from kidneyseg.search.study_status import StudyStatus
from kidneyseg.search.tables import trials
from kidneyseg.settings import CommonSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """A folder of a study's, or a link in its place."""

    path: Path
    n_files: int
    size_bytes: int
    target: Path | None  # where the link points, which stays


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """What goes when a study is deleted."""

    status: StudyStatus
    files: tuple[Files, ...]
    artifacts: tuple[str, ...]  # ids
    store: str  # where the artifacts are


def plan_deletion(storage: Storage, study: str, common: CommonSettings) -> Deletion:
    """See what would go.

    Raises StudyError where there is no such study, and while workers of it are alive.
    """
    status = _read_idle_status(storage, study)
    runs = Runs(common.runs)
    return Deletion(
        status=status,
        files=tuple(_look_at(folder) for folder in study_folders(runs, study)),
        artifacts=tuple(find_artifacts(storage, find_study_id(storage, study))),
        store=common.artifacts or str(runs.artifacts),
    )


def _read_idle_status(storage: Storage, study: str) -> StudyStatus:
    """The status of a study that nobody works on. Raises StudyError."""
    status = read_status(storage, study)
    if status.alive:
        names = ", ".join(worker.worker for worker in status.alive[:5])
        raise StudyError(
            f"study {study!r}: {len(status.alive)} of its workers are alive ({names}); expected "
            f"none: kidneyseg-search stop --study {study} --now, then end them"
        )
    return status


def delete_study(storage: Storage, deletion: Deletion, common: CommonSettings) -> None:
    """Delete a study's artifacts, its rows in the database, Optuna's and ours, and its files.

    No worker may begin meanwhile. The files are moved aside first, and back where anything else
    cannot be deleted: the same command goes on then. Raises StudyError while workers are alive,
    StorageLostError when the store of artifacts is away, KidneysegError for files that cannot be
    removed.
    """
    study = deletion.status.study
    study_id = find_study_id(storage, study)
    ask_to_stop(storage, study_id, "it is being deleted", now=True)
    _read_idle_status(storage, study)  # somebody may have joined since the question was asked
    moved = {files.path: _move_aside(files.path) for files in deletion.files}
    try:
        _remove_artifacts(deletion.artifacts, common)
        storage.optuna.delete_study(study_id)
    except BaseException:
        for path, aside in moved.items():
            aside.rename(path)
        raise
    for aside in moved.values():
        _remove(aside)


def find_artifacts(storage: Storage, study_id: int) -> list[str]:
    """The ids of all artifacts of a study's trials."""
    query = (
        select(attributes.c.key)
        .join(trials, trials.c.trial_id == attributes.c.trial_id)
        .where(trials.c.study_id == study_id, attributes.c.key.startswith(PREFIX))
    )
    return [key.removeprefix(PREFIX) for key in storage.read(query).scalars()]


def study_folders(runs: Runs, study: str) -> list[Path]:
    """The folders of this machine that belong to a study and to nothing else."""
    try:
        folder = runs.study(study)
    except SettingsError:
        return []  # a study of another program, whose name is no folder's
    return [folder] if os.path.lexists(folder) else []


def _remove_artifacts(artifacts: tuple[str, ...], common: CommonSettings) -> None:
    if not artifacts:
        return  # the store, perhaps another machine, is not asked
    store = open_artifacts(common, Runs(common.runs))
    for artifact in artifacts:
        with suppress(ArtifactNotFound):  # removed before, or its upload broke off
            store.remove(artifact)


def _look_at(path: Path) -> Files:
    if path.is_symlink():
        return Files(path=path, n_files=0, size_bytes=0, target=path.readlink())
    sizes = [
        (Path(folder) / name).lstat().st_size
        for folder, _, names in os.walk(path)  # which follows no links
        for name in names
    ]
    return Files(path=path, n_files=len(sizes), size_bytes=sum(sizes), target=None)


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        return path.rename(aside)
    except OSError as error:
        raise KidneysegError(f"{path}: cannot be removed ({error.strerror})") from error


def _remove(path: Path) -> None:
    try:
        if path.is_symlink() or path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path)
    except OSError as error:
        raise KidneysegError(
            f"{path}: cannot be removed ({error.strerror}); the study is gone, remove it by hand"
        ) from error
