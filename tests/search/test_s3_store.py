"""Artifacts in an S3-compatible store, against a server of the tests' own."""

import io
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import TrialState

from kidneyseg.errors import KidneysegError, SettingsError, StorageError, StorageLostError
from kidneyseg.runs import Runs
from kidneyseg.search.artifact_stores import ArtifactStore, open_artifacts
from kidneyseg.search.artifacts import download_model, upload_model
from kidneyseg.search.keeping import remove_surplus_models
from kidneyseg.search.studies import Study
from kidneyseg.settings import CommonSettings

boto3 = pytest.importorskip("boto3", reason="no boto3 here; it is the extra s3")
moto_server = pytest.importorskip("moto.server", reason="no S3 server here; install moto")

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
SECRET = "wJalrXUtnFEMI"
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a bucket, with the variables set that lead to it."""
    for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    for each in client.list_buckets()["Buckets"]:
        for item in client.list_objects_v2(Bucket=each["Name"]).get("Contents", []):
            client.delete_object(Bucket=each["Name"], Key=item["Key"])
        client.delete_bucket(Bucket=each["Name"])
    client.create_bucket(Bucket="kidneys")
    return "kidneys"


def open_store(address: str) -> ArtifactStore:
    return open_artifacts(CommonSettings(artifacts=address), Runs(Path("runs")))


@pytest.fixture
def store(bucket: str) -> ArtifactStore:
    return open_store(f"s3://{bucket}/studies/2026/")


def keys(bucket: str) -> list[str]:
    found = boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])
    return sorted(item["Key"] for item in found)


def test_what_is_written_is_read_and_removed(store: ArtifactStore, bucket: str) -> None:
    store.write(ID, io.BytesIO(b"weights"))
    assert keys(bucket) == [f"studies/2026/{ID}"]
    with store.open_reader(ID) as reader:
        assert reader.read() == b"weights"
    store.remove(ID)
    assert keys(bucket) == []


def test_a_large_artifact_comes_back_whole(store: ArtifactStore) -> None:
    content = bytes(range(256)) * (12 << 12)  # 12 MiB
    store.write(ID, io.BytesIO(content))
    with store.open_reader(ID) as reader:
        assert reader.read() == content


def test_what_is_not_there_is_not_found(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactNotFound):
        store.open_reader(ID)
    store.remove(ID)


@pytest.mark.parametrize("artifact_id", ["", "..", "../x", "a/b"])
def test_ids_that_leave_the_prefix_are_refused(store: ArtifactStore, artifact_id: str) -> None:
    for call in (store.open_reader, store.remove, lambda name: store.write(name, io.BytesIO(b""))):
        with pytest.raises(StorageError, match="expected an id of letters"):
            call(artifact_id)


class Torn(io.BytesIO):
    """A file whose second half cannot be read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 9 << 20:
            raise ConnectionAbortedError("torn")
        return super().read(size)


def test_a_torn_upload_is_not_seen(store: ArtifactStore, bucket: str) -> None:
    with pytest.raises((ConnectionAbortedError, StorageLostError)):
        store.write(ID, Torn(bytes(20 << 20)))
    assert keys(bucket) == []


def test_a_model_makes_the_round(
    store: ArtifactStore,
    bucket: str,
    study: Study,
    save_a_model: Callable[[Path, float], Path],
    tmp_path: Path,
) -> None:
    runs = Runs(tmp_path / "runs")
    for dice in (0.5, 0.75):
        trial = study.optuna.ask()
        folder = save_a_model(runs.model("tiny", trial.number), dice)
        upload_model(store, study, trial._trial_id, folder)
        study.optuna.tell(trial, dice)
    assert len(keys(bucket)) == 6
    download_model(store, study.storage, "tiny", 0, tmp_path / "out")
    for name in ("model.safetensors", "model.json", "README.md"):
        kept = runs.model("tiny", 0) / name
        assert (tmp_path / "out" / name).read_bytes() == kept.read_bytes()
    assert remove_surplus_models(study, store, runs, k=1) == [0]
    assert len(keys(bucket)) == 3


def test_a_store_that_goes_away_is_told_and_the_trial_may_be_uploaded_later(
    store: ArtifactStore,
    bucket: str,
    study: Study,
    save_a_model: Callable[[Path, float], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, trial = save_a_model(tmp_path / "model", 0.5), study.optuna.ask()
    with monkeypatch.context() as away:
        away.setattr("kidneyseg.search.s3_store.ATTEMPTS", 1)
        away.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed_port()}")
        # As it would be opened while the store was there.
        away.setattr("kidneyseg.search.s3_store.S3Store.check", lambda _: None)
        lost = open_store("s3://kidneys/studies")
    with pytest.raises(StorageLostError, match=r"s3://kidneys/studies: .*expected a store"):
        upload_model(lost, study, trial._trial_id, folder)
    states = (TrialState.RUNNING,)
    assert [t.number for t in study.optuna.get_trials(states=states)] == [trial.number]
    upload_model(store, study, trial._trial_id, folder)
    assert len(keys(bucket)) == 3


def refusal(kind: type[KidneysegError], address: str) -> str:
    with pytest.raises(kind) as caught:
        open_store(address)
    message = str(caught.value)
    assert message.startswith((address, f"common.artifacts = {address}"))
    assert "\n" not in message
    assert SECRET not in message
    return message


def test_a_bucket_that_is_not_there_is_told(bucket: str) -> None:
    assert refusal(StorageError, "s3://kidnees/x") == (
        "s3://kidnees/x: no such bucket; make it, or name another"
    )


def test_a_store_that_is_down_is_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kidneyseg.search.s3_store.ATTEMPTS", 1)
    address = f"http://user:{SECRET}@127.0.0.1:{closed_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    message = refusal(StorageError, "s3://kidneys/x")
    assert "Could not connect" in message
    assert "//***@127.0.0.1" in message


def test_a_store_that_says_nothing_is_told_soon(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kidneyseg.search.s3_store.ATTEMPTS", 1)
    monkeypatch.setattr("kidneyseg.search.s3_store.READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "Read timeout" in refusal(StorageError, "s3://kidneys/x")


def test_a_download_that_breaks_off_is_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that promises more than it sends."""
    monkeypatch.setattr("kidneyseg.search.s3_store.ATTEMPTS", 1)
    monkeypatch.setattr("kidneyseg.search.s3_store.S3Store.check", lambda _: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")

        def send_half() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")

        answer = threading.Thread(target=send_half)
        answer.start()
        with pytest.raises(StorageLostError, match=r"s3://kidneys/x: .*expected a store that AWS"):
            open_store("s3://kidneys/x").open_reader(ID)
        answer.join()


def test_missing_credentials_are_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    message = refusal(StorageError, "s3://kidneys/x")
    assert "Unable to locate credentials" in message
    assert "AWS_ENDPOINT_URL and the other AWS variables" in message


def test_an_endpoint_that_is_none_is_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "somewhere")
    assert "somewhere" in refusal(SettingsError, "s3://kidneys/x")


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "kidneyseg.search.s3_store", raising=False)
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert refusal(SettingsError, "s3://kidneys/x") == (
        "common.artifacts = s3://kidneys/x: needs boto3; install it with kidneyseg[s3]"
    )


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
