"""Models and pictures of trials as Optuna artifacts: whole, verified, shown once."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO
from wsgiref.util import setup_testing_defaults

import optuna
import optuna_dashboard
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from PIL import Image

from kidneyseg.errors import ModelError, StorageLostError, StudyError
from kidneyseg.search.artifacts import (
    download_model,
    find_artifacts,
    remove_model,
    upload_model,
    upload_pictures,
)
from kidneyseg.search.folder_store import FolderStore
from kidneyseg.search.studies import Study

SaveModel = Callable[[Path, float], Path]
NAMES = ["README.md", "model.json", "model.safetensors"]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


@pytest.fixture
def model(save_a_model: SaveModel, tmp_path: Path) -> Path:
    return save_a_model(tmp_path / "model", 0.5)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("case_00001", "case_00000"):
        Image.new("RGB", (4, 3)).save(folder / f"{name}.png")
    return folder


class Breaking(FolderStore):
    """A store that goes away at its third file."""

    written = 0

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self.written += 1
        if self.written == 3:
            raise StorageLostError("away")
        super().write(artifact_id, content_body)


def shown(study: Study, trial: optuna.Trial) -> dict[str, str]:
    """What Optuna itself lists of a trial: file names and media types."""
    frozen = study.storage.rdb.get_trial(trial._trial_id)
    found = get_all_artifact_meta(frozen, storage=study.storage.rdb)
    assert len({each.filename for each in found}) == len(found)
    return {each.filename: each.mimetype for each in found}


def test_a_model_comes_back_as_it_was(
    study: Study, store: FolderStore, model: Path, tmp_path: Path
) -> None:
    trial = study.optuna.ask()
    upload_model(store, study, trial._trial_id, model)
    study.optuna.tell(trial, 0.5)
    download_model(store, study.storage, "tiny", trial.number, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == NAMES
    for name in NAMES:
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()


def test_the_dashboard_is_told_what_each_file_is(
    study: Study, store: FolderStore, model: Path, pictures: Path
) -> None:
    trial = study.optuna.ask()
    upload_model(store, study, trial._trial_id, model)
    upload_pictures(store, study, trial._trial_id, pictures)
    assert shown(study, trial) == {
        "model.safetensors": "application/octet-stream",
        "model.json": "application/json",
        "README.md": "text/markdown",
        "case_00000.png": "image/png",
        "case_00001.png": "image/png",
    }


def test_the_dashboard_shows_a_picture(study: Study, store: FolderStore, pictures: Path) -> None:
    trial = study.optuna.ask()
    upload_pictures(store, study, trial._trial_id, pictures)
    app = optuna_dashboard.wsgi(study.storage.optuna, artifact_store=store)
    artifact_id = dict(find_artifacts(study.storage, trial._trial_id))["case_00000.png"]
    told: dict[str, str] = {}

    def start(status: str, headers: list[tuple[str, str]], _error: object = None) -> None:
        told.update(headers, status=status)

    environ: dict[str, Any] = {
        "PATH_INFO": f"/artifacts/{study.id}/{trial._trial_id}/{artifact_id}"
    }
    setup_testing_defaults(environ)
    with closing(app(environ, start)) as answer:
        body = b"".join(answer)
    assert told["status"].startswith("200")
    assert told["Content-Type"] == "image/png"
    assert body == (pictures / "case_00000.png").read_bytes()


def test_an_upload_repeated_shows_nothing_twice_and_leaves_nothing_behind(
    study: Study, store: FolderStore, model: Path, save_a_model: SaveModel, tmp_path: Path
) -> None:
    trial = study.optuna.ask()
    upload_model(store, study, trial._trial_id, save_a_model(tmp_path / "older", 0.25))
    upload_model(store, study, trial._trial_id, model)
    assert sorted(shown(study, trial)) == NAMES
    assert len(list(store.folder.iterdir())) == 3
    download_model(store, study.storage, "tiny", trial.number, tmp_path / "out")
    assert (tmp_path / "out" / "model.json").read_bytes() == (model / "model.json").read_bytes()


def test_an_upload_that_broke_off_is_done_again(
    study: Study, store: FolderStore, model: Path, tmp_path: Path
) -> None:
    trial = study.optuna.ask()
    with pytest.raises(StorageLostError):
        upload_model(Breaking(store.folder), study, trial._trial_id, model)
    with pytest.raises(ModelError, match=r"its README\.md is not in"):
        download_model(store, study.storage, "tiny", trial.number, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    upload_model(store, study, trial._trial_id, model)
    assert sorted(shown(study, trial)) == NAMES
    assert len(list(store.folder.iterdir())) == 3
    download_model(store, study.storage, "tiny", trial.number, tmp_path / "out")


def test_pictures_and_model_do_not_replace_each_other(
    study: Study, store: FolderStore, model: Path, pictures: Path
) -> None:
    trial = study.optuna.ask()
    upload_pictures(store, study, trial._trial_id, pictures)
    upload_model(store, study, trial._trial_id, model)
    upload_pictures(store, study, trial._trial_id, pictures)
    assert len(shown(study, trial)) == 5


def test_a_worker_whose_trial_is_gone_uploads_nothing(
    study: Study, store: FolderStore, model: Path, pictures: Path
) -> None:
    trial = study.optuna.ask()
    study.optuna.tell(trial, state=TrialState.FAIL)  # by another, while this one stood still
    for upload, folder in ((upload_model, model), (upload_pictures, pictures)):
        with pytest.raises(UpdateFinishedTrialError):
            upload(store, study, trial._trial_id, folder)
    assert not store.folder.exists()
    assert shown(study, trial) == {}


def test_a_folder_that_is_not_whole_is_not_uploaded(
    study: Study, store: FolderStore, model: Path
) -> None:
    trial = study.optuna.ask()
    (model / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="not the weights that"):
        upload_model(store, study, trial._trial_id, model)
    assert not store.folder.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_damaged_model_is_not_downloaded(
    study: Study, store: FolderStore, model: Path, tmp_path: Path, name: str
) -> None:
    trial = study.optuna.ask()
    upload_model(store, study, trial._trial_id, model)
    path = store.folder / dict(find_artifacts(study.storage, trial._trial_id))[name]
    content = bytearray(path.read_bytes())
    content[-3] ^= 1  # a single bit
    path.write_bytes(content[:-2] if name == "model.json" else content)
    with pytest.raises(ModelError) as caught:
        download_model(store, study.storage, "tiny", trial.number, tmp_path / "out")
    assert str(caught.value).startswith(
        f"trial 0 of study 'tiny': its model in {store.address} is damaged ({name}: not "
    )
    assert not (tmp_path / "out").exists()


def test_another_store_is_told_from_an_empty_one(
    study: Study, store: FolderStore, model: Path, tmp_path: Path
) -> None:
    upload_model(store, study, study.optuna.ask()._trial_id, model)
    other = FolderStore(tmp_path / "other")
    with pytest.raises(ModelError) as caught:
        download_model(other, study.storage, "tiny", 0, tmp_path / "out")
    assert str(caught.value) == (
        f"trial 0 of study 'tiny': its model.safetensors is not in {other.address}; name the store "
        "where it was kept (common.artifacts)"
    )


def test_a_trial_that_is_not_there_is_told(
    study: Study, store: FolderStore, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match="study 'tiny': trial 7 is not there"):
        download_model(store, study.storage, "tiny", 7, tmp_path / "out")


def test_a_removed_model_is_gone_from_store_and_lists_and_pictures_stay(
    study: Study, store: FolderStore, model: Path, pictures: Path
) -> None:
    trial = study.optuna.ask()
    upload_model(store, study, trial._trial_id, model)
    upload_pictures(store, study, trial._trial_id, pictures)
    study.optuna.tell(trial, 0.5)
    for _ in range(2):
        remove_model(store, study.storage, trial._trial_id)
        assert sorted(shown(study, trial)) == ["case_00000.png", "case_00001.png"]
        assert len(list(store.folder.iterdir())) == 2
