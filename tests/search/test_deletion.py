"""A deleted study is gone, rows and files, and nothing else is."""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import optuna
import pytest
from sqlalchemy import func, insert, select

from kidneyseg.errors import StudyError
from kidneyseg.runs import Runs
from kidneyseg.search.artifact_stores import open_artifacts
from kidneyseg.search.deletion import delete_study, plan_deletion
from kidneyseg.search.orders import ask_for, read_order
from kidneyseg.search.storage import Storage
from kidneyseg.search.tables import OURS, epochs, leases, places, points, workers
from kidneyseg.settings import CommonSettings


@pytest.fixture
def common(tmp_path: Path) -> CommonSettings:
    return CommonSettings(runs=tmp_path / "runs")


def make_study(storage: Storage, name: str) -> optuna.Study:
    """A study with a running trial and a row in each of our tables; its worker left a day ago."""
    study = optuna.create_study(storage=storage.optuna, study_name=name)
    trial_id = study.ask()._trial_id
    ask_for(storage, study._study_id, 5)
    metrics = {column.name: 1 for column in epochs.c}
    day_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=1)
    times = {"since": day_ago, "seen": day_ago}
    storage.change(insert(leases).values(trial_id=trial_id, worker="w", beat=1))
    storage.change(insert(epochs).values({**metrics, "trial_id": trial_id}))
    claim = {"study_id": study._study_id, "trial_id": trial_id}
    storage.change(insert(places).values(place=0, **claim))
    storage.change(insert(points).values(point="p", **claim))
    storage.change(
        insert(workers).values(study_id=study._study_id, worker="w", device="cpu", **times)
    )
    return study


def make_files(runs: Runs, study: str) -> None:
    (runs.model(study, 0)).mkdir(parents=True)
    (runs.model(study, 0) / "model.safetensors").write_bytes(b"1" * 2000)
    (runs.trial(study, 0) / "log").write_bytes(b"1" * 500)


def delete(storage: Storage, name: str, common: CommonSettings) -> None:
    delete_study(storage, plan_deletion(storage, name, common), common)


def test_all_rows_go_and_those_of_others_stay(
    either_storage: Storage, common: CommonSettings
) -> None:
    make_study(either_storage, "a")
    make_study(either_storage, "b")
    delete(either_storage, "a", common)
    for table in OURS:
        assert either_storage.read(select(func.count()).select_from(table)).scalar_one() == 1
    assert optuna.get_all_study_names(either_storage.optuna) == ["b"]


def test_what_would_go_is_told_before(storage: Storage, common: CommonSettings) -> None:
    make_study(storage, "a")
    make_files(Runs(common.runs), "a")
    deletion = plan_deletion(storage, "a", common)
    (files,) = deletion.files
    assert (files.path, files.n_files, files.size_bytes) == (common.runs / "a", 2, 2500)
    assert (files.target, deletion.artifacts) == (None, ())
    assert deletion.status.states["running"] == 1
    assert files.path.is_dir()
    assert optuna.get_all_study_names(storage.optuna) == ["a"]


def test_its_files_go_and_those_of_others_stay(storage: Storage, common: CommonSettings) -> None:
    for name in ("a", "ab"):
        make_study(storage, name)
        make_files(Runs(common.runs), name)
    delete(storage, "a", common)
    assert [path.name for path in common.runs.iterdir()] == ["ab"]
    assert len(list((common.runs / "ab").rglob("*"))) == 4


def test_links_go_and_what_they_point_to_stays(
    storage: Storage, common: CommonSettings, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").write_bytes(b"years of work")
    for name in ("a", "b"):
        make_study(storage, name)
    make_files(Runs(common.runs), "a")
    (common.runs / "a" / "elsewhere").symlink_to(precious)
    (common.runs / "b").symlink_to(precious)
    (within,) = plan_deletion(storage, "a", common).files
    assert within.size_bytes < 2500 + 500  # the link's own few bytes
    (itself,) = plan_deletion(storage, "b", common).files
    assert (itself.target, itself.n_files) == (precious, 0)
    for name in ("a", "b"):
        delete(storage, name, common)
    assert list(common.runs.iterdir()) == []
    assert (precious / "thesis").read_bytes() == b"years of work"


@pytest.mark.parametrize("name", ["../precious", "phantom", "studies.db", ".."])
def test_a_name_that_is_no_folder_of_a_study_deletes_no_file(
    name: str, storage: Storage, common: CommonSettings, tmp_path: Path
) -> None:
    for place in (tmp_path / "precious", common.runs / "phantom"):
        place.mkdir(parents=True)
    (common.runs / "studies.db").touch()
    make_study(storage, name)
    assert plan_deletion(storage, name, common).files == ()
    delete(storage, name, common)
    assert (tmp_path / "precious").is_dir()
    assert {path.name for path in common.runs.iterdir()} == {"phantom", "studies.db"}


def test_artifacts_go_with_their_study(storage: Storage, common: CommonSettings) -> None:
    store = open_artifacts(common, Runs(common.runs))
    for name in ("a", "b"):
        study = make_study(storage, name)
        path = common.runs / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"a picture")
        (trial,) = study.trials
        optuna.artifacts.upload_artifact(
            artifact_store=store, file_path=str(path), study_or_trial=trial, storage=storage.optuna
        )
    deletion = plan_deletion(storage, "a", common)
    (gone,) = deletion.artifacts
    (kept,) = plan_deletion(storage, "b", common).artifacts
    delete_study(storage, deletion, common)
    with store.open_reader(kept) as reader:
        assert reader.read() == b"a picture"
    with pytest.raises(optuna.artifacts.exceptions.ArtifactNotFound):
        store.open_reader(gone)
    store.write(gone, BytesIO(b""))  # the name was right


def test_a_study_with_living_workers_is_refused(storage: Storage, common: CommonSettings) -> None:
    study = make_study(storage, "a")
    now = datetime.now(UTC).replace(tzinfo=None)
    row = {"study_id": study._study_id, "worker": "host m 7 1.00 0", "device": "cpu"}
    storage.change(insert(workers).values(**row, since=now, seen=now))
    with pytest.raises(StudyError, match=r"1 of its workers are alive \(host 7\); expected none"):
        plan_deletion(storage, "a", common)
    with pytest.raises(StudyError, match="study 'b': not in"):
        plan_deletion(storage, "b", common)


def test_a_worker_that_joins_after_the_question_was_asked_stops_the_deletion(
    storage: Storage, common: CommonSettings
) -> None:
    study = make_study(storage, "a")
    make_files(Runs(common.runs), "a")
    deletion = plan_deletion(storage, "a", common)
    now = datetime.now(UTC).replace(tzinfo=None)
    row = {"study_id": study._study_id, "worker": "host m 7 1.00 0", "device": "cpu"}
    storage.change(insert(workers).values(**row, since=now, seen=now))
    with pytest.raises(StudyError, match="1 of its workers are alive"):
        delete_study(storage, deletion, common)
    assert Runs(common.runs).study("a").is_dir()
    assert read_order(storage, study._study_id).stop_now  # it hands its trial back, and ends


def test_files_come_back_where_the_rows_cannot_be_deleted(
    storage: Storage, common: CommonSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(storage, "a")
    make_files(Runs(common.runs), "a")
    deletion = plan_deletion(storage, "a", common)

    def fail(_: int) -> None:
        raise RuntimeError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(storage.optuna, "delete_study", fail)
        with pytest.raises(RuntimeError, match="away"):
            delete_study(storage, deletion, common)
    assert (common.runs / "a/trial_00000/log").is_file()
    delete_study(storage, deletion, common)
    assert list(common.runs.iterdir()) == []
