"""Kept models and pictures of trials, as Optuna artifacts: the dashboard shows them.

What a store holds is named in the database first and removed from there last, so that nothing lies
in a store that no trial knows of. A trial whose upload broke off holds a part, and uploads again:
what it had of the same names goes first.
"""

import json
import shutil
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from optuna.artifacts import upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.exceptions import UpdateFinishedTrialError
from sqlalchemy import String, Text, column, delete, select, table

from kidneyseg.errors import ModelError, StudyError
from kidneyseg.files import replacing_folder
from kidneyseg.model.description import MODEL_FILES, check_weights, load_description
from kidneyseg.search.artifact_stores import ArtifactStore
from kidneyseg.search.status import find_study_id
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import Study

MODEL = "model"  # trial attribute: whether the trial's model is kept, for people
KEPT = "kept"
PREFIX = "artifacts:"  # of Optuna's attributes that name artifacts
MIME_TYPES = {
    ".safetensors": "application/octet-stream",
    ".json": "application/json",
    ".md": "text/markdown",
    ".png": "image/png",
}

attributes = table(  # Optuna's own, of trials
    "trial_system_attributes",
    column("trial_id"),
    column("key", String),
    column("value_json", Text),
)


def upload_model(store: ArtifactStore, study: Study, trial_id: int, folder: Path) -> None:
    """Upload a running trial's model folder: call it before the trial is told.

    Raises ModelError for a folder that is not whole, StorageLostError when the store is away (call
    it again later), Optuna's UpdateFinishedTrialError for a trial that is no longer this worker's.
    """
    check_weights(folder, load_description(folder))
    study.storage.optuna.set_trial_user_attr(trial_id, MODEL, KEPT)
    _upload(store, study, trial_id, [folder / name for name in MODEL_FILES])


def upload_pictures(store: ArtifactStore, study: Study, trial_id: int, folder: Path) -> None:
    """Upload the PNG files of a running trial's folder of pictures; raises as `upload_model`."""
    _upload(store, study, trial_id, sorted(folder.glob("*.png")))


def download_model(
    store: ArtifactStore, storage: Storage, study: str, number: int, out: Path
) -> None:
    """Write a trial's model folder from the store, whole and verified or not at all.

    Raises ModelError for a model that is not there or not the one that its model.json describes.
    """
    of_trial = dict(find_artifacts(storage, find_trial_id(storage, study, number)))
    with replacing_folder(out) as temporary:
        try:
            for name in MODEL_FILES:
                with (
                    store.open_reader(of_trial[name]) as reader,
                    (temporary / name).open("wb") as f,
                ):
                    shutil.copyfileobj(reader, f)
            check_weights(temporary, load_description(temporary))
        except (KeyError, ArtifactNotFound):
            raise ModelError(
                f"trial {number} of study {study!r}: its {name} is not in {store.address}; name "
                "the store where it was kept (common.artifacts)"
            ) from None
        except ModelError as error:
            raise ModelError(
                f"trial {number} of study {study!r}: its model in {store.address} is damaged "
                f"({str(error).removeprefix(f'{temporary}/')})"
            ) from error


def remove_model(store: ArtifactStore, storage: Storage, trial_id: int) -> None:
    """Remove a trial's model from the store; its pictures stay. Nothing there is no error."""
    remove_artifacts(store, storage, trial_id, MODEL_FILES)


def remove_artifacts(
    store: ArtifactStore, storage: Storage, trial_id: int, names: Collection[str]
) -> None:
    """Remove a trial's artifacts of these file names."""
    for name, artifact_id in find_artifacts(storage, trial_id):
        if name in names:
            with suppress(ArtifactNotFound):  # its upload broke off, or another was faster
                store.remove(artifact_id)
            storage.change(
                delete(attributes).where(
                    attributes.c.trial_id == trial_id, attributes.c.key == PREFIX + artifact_id
                )
            )


def find_artifacts(storage: Storage, trial_id: int) -> list[tuple[str, str]]:
    """File name and id of each artifact of a trial."""
    query = select(attributes.c.value_json).where(
        attributes.c.trial_id == trial_id, attributes.c.key.startswith(PREFIX)
    )
    told = (json.loads(json.loads(text)) for (text,) in storage.read(query))
    return [(each["filename"], each["artifact_id"]) for each in told if each is not None]


def find_trial_id(storage: Storage, study: str, number: int) -> int:
    """The id of a trial in the database. Raises StudyError where there is no such trial."""
    study_id = find_study_id(storage, study)
    try:
        return storage.optuna.get_trial_id_from_study_id_trial_number(study_id, number)
    except KeyError:
        raise StudyError(f"study {study!r}: trial {number} is not there") from None


def _upload(store: ArtifactStore, study: Study, trial_id: int, paths: Iterable[Path]) -> None:
    storage = study.storage.optuna
    trial = storage.get_trial(trial_id)
    if trial.state.is_finished():
        raise UpdateFinishedTrialError(f"trial {trial.number} is finished: it keeps what it has")
    files = list(paths)
    remove_artifacts(store, study.storage, trial_id, {path.name for path in files})
    for path in files:
        upload_artifact(
            artifact_store=store,
            file_path=str(path),
            study_or_trial=trial,
            storage=storage,
            mimetype=MIME_TYPES[path.suffix],
        )
