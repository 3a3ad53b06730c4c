"""What doctor finds in machines, databases and data that are made to be ill."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import torch
from sqlalchemy import delete, insert, make_url, text

from kidneyseg.errors import StorageError
from kidneyseg.runs import Runs
from kidneyseg.search import doctor
from kidneyseg.search.database_checks import (
    check_clock,
    check_connections,
    check_place,
    check_splits,
    check_versions,
    check_workers,
)
from kidneyseg.search.doctor import examine
from kidneyseg.search.file_systems import network_file_system
from kidneyseg.search.findings import Finding, Level
from kidneyseg.search.identity import WorkerIdentity
from kidneyseg.search.machine_checks import (
    check_data,
    check_disk,
    check_gpus,
    check_precision_here,
    check_shared_memory,
    check_writable,
)
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.studies import Study
from kidneyseg.search.tables import leases, workers
from kidneyseg.search.upgrading import upgrade_database
from kidneyseg.settings import Environment

MINE = {"kidneyseg": "1.0", "optuna": "5.0.0"}
GB = 10**9


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    assert bool(finding.cure) == (finding.level != Level.OK)
    return finding


def disk_of(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    usage = SimpleNamespace(total=gigabytes * GB, free=gigabytes * GB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/studies.db", None),
        ("/data/nfs/runs/studies.db", "nfs4"),
        ("/data/nfs/local disk/studies.db", None),  # a disk mounted within
        ("/data/nfsx/studies.db", None),
        ("/scratch/me/not/there/yet/studies.db", "lustre"),
        ("/home/me/studies.db", "fuse.sshfs"),
        ("/container/studies.db", None),
        ("/twice/studies.db", "cifs"),  # the later mount lies on top
    ],
)
def test_a_network_file_system_is_told_by_the_innermost_mount(
    path: str, kind: str | None, tmp_path: Path
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\n"
        "server:/export /data/nfs nfs4 rw 0 0\n"
        "/dev/sdb1 /data/nfs/local\\040disk xfs rw 0 0\n"
        "mds:/fs /scratch lustre rw 0 0\n"
        "me@host: /home fuse.sshfs rw 0 0\n"
        "overlay /container fuse.fuse-overlayfs rw 0 0\n"
        "/dev/sdc1 /twice ext4 rw 0 0\n"
        "//nas/share /twice cifs rw 0 0\n",
        encoding="utf-8",
    )
    assert network_file_system(Path(path), mounts) == kind
    assert only(check_place(Path(path), mounts)).level == ("error" if kind else "ok")


def test_a_link_to_a_network_file_system_is_followed(tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (tmp_path / "runs").symlink_to(far)
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/sda1 / ext4 rw 0 0\nserver:/export {far} nfs rw 0 0\n", encoding="utf-8"
    )
    assert network_file_system(tmp_path / "runs" / "studies.db", mounts) == "nfs"


def test_without_a_table_of_mounts_nothing_is_claimed(tmp_path: Path) -> None:
    assert network_file_system(tmp_path, tmp_path / "none") is None


@pytest.mark.parametrize(
    ("gigabytes", "disk", "shared"),
    [(0.064, "error", "warning"), (5.0, "warning", "ok"), (100.0, "ok", "ok")],
)
def test_little_room_is_told(
    gigabytes: float, disk: str, shared: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk_of(monkeypatch, gigabytes)
    assert only(check_disk(tmp_path / "not" / "there", "runs")).level == disk
    assert only(check_shared_memory(tmp_path)).level == shared
    assert check_shared_memory(tmp_path / "none") == []


def test_a_runs_folder_is_written_to_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert only(check_writable(tmp_path)).level == "ok"
    assert only(check_writable(tmp_path / "a" / "b")).level == "ok"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
    assert only(check_writable(tmp_path / "a" / "b")).level == "error"

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    finding = only(check_writable(tmp_path))
    assert (finding.level, "No space left on device" in finding.found) == ("error", True)


def test_a_driver_without_a_usable_gpu_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    driver = tmp_path / "version"
    assert only(check_gpus("auto", driver)).level == "ok"
    assert only(check_gpus("cuda:0", driver)).level == "error"
    driver.touch()
    assert only(check_gpus("auto", driver)).level == "error"
    assert only(check_gpus("cpu", driver)).level == "ok"


@pytest.mark.parametrize(
    ("free", "fails", "level"), [(70, False, "ok"), (10, False, "warning"), (70, True, "error")]
)
def test_each_gpu_is_tried(
    free: int, fails: bool, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ones(_: int, device: str) -> torch.Tensor:
        if fails:
            raise RuntimeError("CUDA error: out of memory\nmore lines")
        assert device == "cuda:0"
        return torch.zeros(1)

    monkeypatch.setattr(torch, "ones", ones)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * GB, 80 * GB))
    first, *missing = check_gpus("cuda:1")
    assert (first.level, "\n" in first.found) == (level, False)
    assert only(missing).level == "error"  # there is no second one
    assert only(check_gpus("cuda")).level == level


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_a_real_gpu_is_tried() -> None:
    levels = {finding.level for finding in check_gpus("auto")}
    assert levels <= {Level.OK, Level.WARNING}


def test_data_are_opened(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "5 cases" in only(check_data(tiny_data)).found
    assert only(check_data(None)).level == "ok"
    assert only(check_data(tmp_path / "none")).level == "error"
    real = Path.open

    def refuse(path: Path, *given: Any) -> Any:
        if path.name == "segmentation.nii.gz":
            raise PermissionError(13, "Permission denied")
        return real(path, *given)

    monkeypatch.setattr(Path, "open", refuse)
    finding = only(check_data(tiny_data))
    assert (finding.level, finding.found.startswith("5 files")) == ("error", True)


def test_clocks_that_differ_are_told(
    either_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert only(check_clock(either_storage)).level == "ok"
    now = datetime.now(UTC).timestamp()
    monkeypatch.setattr("kidneyseg.search.database_checks.time.time", lambda: now + 300)
    finding = only(check_clock(either_storage))
    if either_storage.is_sqlite:
        assert finding.level == "ok"  # it has no clock of its own
    else:
        assert finding.level == "warning"
        assert "s ahead of the database's" in finding.found


def test_a_server_short_of_connections_is_told(either_storage: Storage) -> None:
    study = optuna.create_study(storage=either_storage.optuna, study_name="a")
    if either_storage.is_sqlite:
        assert check_connections(either_storage) == []
        return
    assert only(check_connections(either_storage)).level == "ok"
    now = datetime.now(UTC).replace(tzinfo=None)
    row = {"study_id": study._study_id, "device": "cpu", "since": now, "seen": now}
    of_one = [{**row, "worker": f"host m 500 1.00 {place}"} for place in range(120)]
    either_storage.change(insert(workers).values(of_one))
    finding = only(check_connections(either_storage))
    assert finding.level == "ok"
    assert "120 workers alive, processes: 1" in finding.found
    either_storage.change(delete(workers))
    many = [{**row, "worker": f"host m {pid} 1.00 0"} for pid in range(120)]
    either_storage.change(insert(workers).values(many))
    finding = only(check_connections(either_storage))
    assert (finding.level, "120 workers alive" in finding.found) == ("warning", True)


def test_mixed_versions_are_told_by_study(either_storage: Storage) -> None:
    versions = {"same": ["5.0.0", "5.0.0"], "mixed": ["5.0.0", "4.6.0", "4.6.0"]}
    for name, each in versions.items():
        study = optuna.create_study(storage=either_storage.optuna, study_name=name)
        for version in each:
            made_by = {"versions": {"kidneyseg": "1.0", "optuna": version}}
            study.ask().set_user_attr("provenance", made_by)
    finding = only(check_versions(either_storage, MINE))
    assert finding.level == "warning"
    assert finding.found == "study mixed: trials by optuna 4.6.0 (2), 5.0.0 (1); here is 5.0.0"
    newer = check_versions(either_storage, {**MINE, "kidneyseg": "2.0"})
    assert len(newer) == 3


def test_trials_whose_worker_died_are_told(either_storage: Storage) -> None:
    study = optuna.create_study(storage=either_storage.optuna, study_name="a")
    assert only(check_workers(either_storage)).level == "ok"
    now = datetime.now(UTC).replace(tzinfo=None)
    for pid, seconds in ((7, 10), (8, 500)):
        worker = str(WorkerIdentity(host="box", machine="m", pid=pid, started=1.0))
        seen = now - timedelta(seconds=seconds)
        row = {"study_id": study._study_id, "device": "cpu", "since": seen, "seen": seen}
        either_storage.change(insert(workers).values(**row, worker=worker))
        trial_id = study.ask()._trial_id
        either_storage.change(insert(leases).values(trial_id=trial_id, worker=worker, beat=1))
    finding = only(check_workers(either_storage))
    assert finding.level == "warning"
    assert "study a: trial 1 runs on, its worker (box 8) is gone" in finding.found
    assert "kidneyseg-search worker --study a" in finding.cure


def test_splits_are_known_or_not(study: Study, tmp_path: Path) -> None:
    storage, runs = study.storage, Runs(tmp_path / "runs")
    optuna.create_study(storage=storage.optuna, study_name="foreign")
    assert only(check_splits(storage, runs)).level == "warning"
    path = runs.evaluation_data(study.definition.split)
    path.parent.mkdir(parents=True)
    path.touch()
    assert only(check_splits(storage, runs)).found == "known here: tiny"


def levels(findings: list[Finding]) -> dict[str, set[str]]:
    return {
        each.check: {f.level.value for f in findings if f.check == each.check} for each in findings
    }


def test_a_machine_in_order_has_no_error_and_nothing_is_made(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_of(monkeypatch, 100)
    found = list(examine(f"sqlite:///{tmp_path}/runs/studies.db", environment))
    assert "error" not in set.union(*levels(found).values())
    assert {"GPUs", "runs folder", "disk", "data", "database"} <= levels(found).keys()
    assert not (tmp_path / "runs").exists()


def test_a_database_is_looked_into(address: str, environment: Environment) -> None:
    found = levels(list(examine(address, environment)))
    assert found["database"] == found["clock"] == found["versions"] == found["workers"] == {"ok"}


def test_a_check_that_fails_is_a_finding_and_the_others_go_on(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> list[Finding]:
        raise RuntimeError("the driver hangs\nfor ever")

    monkeypatch.setattr(doctor, "check_gpus", fail)
    found = list(examine(f"sqlite:///{tmp_path}/studies.db", environment))
    assert found[0].level == "error"
    assert found[0].found == "could not be looked at (RuntimeError: the driver hangs)"
    assert len(levels(found)) > 3


def test_an_older_schema_is_an_error_until_it_is_upgraded(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_of(monkeypatch, 100)
    path = tmp_path / "studies.db"
    address = f"sqlite:///{path}"
    make_older(address)
    (finding,) = [f for f in examine(address, environment) if f.level == "error"]
    assert finding.check == "database"
    assert finding.cure == "kidneyseg-search doctor --upgrade"
    copied, upgraded = upgrade_database(address)
    assert upgraded == "our tables: from 0001 to 0003"
    with sqlite3.connect(copied.removeprefix("copied before: ")) as copy:
        assert copy.execute("SELECT beat FROM kidneyseg_leases").fetchall() == [(3,)]
        assert not copy.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'kidneyseg_orders'"
        ).fetchall()
    copy.close()
    assert upgrade_database(address) == []
    assert "error" not in set.union(*levels(list(examine(address, environment))).values())


def make_older(address: str) -> None:
    """Make of a database one of the first release, with a lease."""
    storage = open_storage(address)
    trial = optuna.create_study(storage=storage.optuna, study_name="a").ask()
    storage.change(insert(leases).values(trial_id=trial._trial_id, worker="w", beat=3))
    for name in ("orders", "workers", "epochs", "places", "points", "version"):
        storage.change(text(f"DROP TABLE kidneyseg_{name}"))
    storage.engine.dispose()


def test_what_cannot_be_upgraded_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such database; nothing to upgrade"):
        upgrade_database(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text.db").write_text(
        "these are no studies, but a text that is long" * 40, encoding="utf-8"
    )
    with pytest.raises(StorageError, match="file is not a database"):
        upgrade_database(f"sqlite:///{tmp_path}/text.db")


@pytest.mark.postgres
def test_a_password_is_in_no_finding(
    postgres_database: str, environment: Environment, build_plan: Callable[..., Any]
) -> None:
    url = make_url(postgres_database).set(password="pa55-w0rd")
    wrong = url.render_as_string(hide_password=False)
    found = list(examine(wrong, environment))
    assert "error" in levels(found)["database"]
    assert "pa55-w0rd" not in repr(found)
    with pytest.raises(StorageError) as caught:
        upgrade_database(wrong)
    assert "pa55-w0rd" not in str(caught.value)


@pytest.mark.parametrize(
    ("device", "precision", "level", "words"),
    [
        ("cpu", "float32", Level.OK, "float32 on cpu"),
        ("cpu", "tf32", Level.ERROR, "only GPUs have it"),
        ("cpu", "bfloat16", Level.WARNING, "no instructions"),
    ],
)
def test_a_precision_that_the_machine_lacks_is_found(
    device: str, precision: str, level: Level, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    finding = only(check_precision_here(device, precision))
    assert finding.level == level
    assert words in finding.found
