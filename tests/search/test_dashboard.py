"""The dashboard as it is served: a page to look at, and nothing else."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from kidneyseg.errors import CorrectableError
from kidneyseg.search.dashboard import answers, build_server
from kidneyseg.search.dashboard_login import Login
from kidneyseg.search.dashboard_server import Address
from kidneyseg.search.folder_store import FolderStore
from kidneyseg.search.storage import Storage

LOOPBACK = Address(host="127.0.0.1", port=0)
LOGIN = Login(user="viewer", password="correct horse battery")
BASIC = "Basic dmlld2VyOmNvcnJlY3QgaG9yc2UgYmF0dGVyeQ=="  # by coreutils' base64


@pytest.fixture
def study(storage: Storage) -> optuna.Study:
    study = optuna.create_study(storage=storage.optuna, study_name="kidneys", direction="maximize")
    study.ask()
    return study


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


@pytest.fixture
def port(storage: Storage, store: FolderStore, study: optuna.Study) -> Iterator[int]:
    """A server of a study's dashboard without a login, on a free port."""
    with build_server(storage, store, LOOPBACK) as server:
        yield server.port


@pytest.fixture
def locked_port(storage: Storage, store: FolderStore, study: optuna.Study) -> Iterator[int]:
    """A server of a study's dashboard with a login, at every address of this machine."""
    with build_server(storage, store, Address(host="0.0.0.0", port=0), LOGIN) as server:
        yield server.port


def ask(
    port: int, method: str, path: str, *, body: str | None = None, **headers: str
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, {"Content-Type": "application/json", **headers})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


def test_the_page_is_served(port: int) -> None:
    status, content = ask(port, "GET", "/dashboard")
    assert status == 200
    assert b"<html" in content
    assert content.count(b"main, main * { min-width: 0 }") == 1, "see NarrowPages"
    assert content.rstrip().endswith(b"</html>")


def test_a_proxy_may_strip_what_a_browser_accepts(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("GET", "/static/bundle.js", skip_accept_encoding=True)
    connection.endheaders()
    response = connection.getresponse()
    assert (response.status, len(response.read()) > 10**5) == (200, True)
    connection.close()


def test_studies_and_trials_are_shown(port: int, study: optuna.Study) -> None:
    status, content = ask(port, "GET", "/api/studies")
    assert status == 200
    assert [each["study_name"] for each in json.loads(content)["study_summaries"]] == ["kidneys"]
    status, content = ask(port, "GET", f"/api/studies/{study._study_id}?after=0")
    assert status == 200
    assert [trial["state"] for trial in json.loads(content)["trials"]] == ["Running"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_whatever_could_change_something_is_refused(
    port: int, study: optuna.Study, method: str
) -> None:
    path = f"/api/studies/{study._study_id}"
    status, _ = ask(port, method, path, body="{}")
    assert status == 405
    assert optuna.get_all_study_names(study._storage) == ["kidneys"]


def test_a_stranger_cannot_finish_a_trial(port: int, study: optuna.Study) -> None:
    """As an anonymous POST to optuna-dashboard does."""
    trial_id = study.trials[0]._trial_id
    body = json.dumps({"state": "Complete", "values": [99]})
    status, _ = ask(port, "POST", f"/api/trials/{trial_id}/tell", body=body)
    assert status == 405
    assert study.trials[0].state.name == "RUNNING"


def test_with_a_login_nobody_changes_anything_either(locked_port: int, study: optuna.Study) -> None:
    path = f"/api/studies/{study._study_id}"
    status, _ = ask(locked_port, "DELETE", path, body="{}", Authorization=BASIC)
    assert status == 405
    body = json.dumps({"study_name": "mine", "directions": ["maximize"]})
    status, _ = ask(locked_port, "POST", "/api/studies", body=body, Authorization=BASIC)
    assert status == 405
    assert optuna.get_all_study_names(study._storage) == ["kidneys"]


@pytest.mark.parametrize("path", ["/", "/dashboard", "/api/studies", "/api/meta", "/csv/1"])
def test_a_stranger_sees_nothing(locked_port: int, path: str) -> None:
    status, content = ask(locked_port, "GET", path)
    assert (status, content) == (401, b"log in to see the studies\n")


def test_who_logs_in_sees_the_studies_under_any_name_of_the_machine(locked_port: int) -> None:
    status, content = ask(
        locked_port, "GET", "/api/studies", Authorization=BASIC, Host="gpu7.example"
    )
    assert status == 200
    assert b"kidneys" in content


def test_containers_learn_without_a_login_whether_the_database_answers(
    locked_port: int, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise OSError("no route to host")

    assert ask(locked_port, "GET", "/healthz") == (200, b"ok\n")
    assert answers(storage)
    monkeypatch.setattr(storage.engine, "raw_connection", away)
    assert not answers(storage)


def test_a_file_that_is_no_longer_kept_is_not_found(
    port: int, storage: Storage, store: FolderStore, study: optuna.Study, tmp_path: Path
) -> None:
    trial = study.ask()
    (tmp_path / "model.json").write_text("{}", encoding="utf-8")
    artifact = optuna.artifacts.upload_artifact(
        artifact_store=store,
        file_path=str(tmp_path / "model.json"),
        study_or_trial=trial,
        mimetype="application/json",
    )
    path = f"/artifacts/{study._study_id}/{trial._trial_id}/{artifact}"
    assert ask(port, "GET", path) == (200, b"{}")
    store.remove(artifact)
    assert ask(port, "GET", path) == (404, b"this file is no longer kept\n")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example"])
def test_a_request_for_another_host_is_refused(port: int, host: str) -> None:
    status, content = ask(port, "GET", "/api/studies", Host=host)
    assert status == 403
    assert b"kidneys" not in content


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_this_machine_is_known_by_its_loopback_names(port: int, host: str) -> None:
    assert ask(port, "GET", "/api/studies", Host=host)[0] == 200
    assert ask(port, "GET", "/api/studies", Host=f"{host}:{port}")[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "my-machine", ""])
def test_without_a_login_it_listens_on_loopback_only(
    storage: Storage, store: FolderStore, host: str
) -> None:
    with pytest.raises(CorrectableError, match=rf"--host {host}: .* ssh -L 8080:127\.0\.0\.1:8080"):
        build_server(storage, store, Address(host=host, port=8080))


def test_it_cannot_be_reached_at_another_address_of_this_machine(port: int) -> None:
    with socket.socket() as probe:
        probe.settimeout(5)
        assert probe.connect_ex(("127.0.0.2", port)) != 0


def test_a_header_beyond_all_bounds_is_refused(port: int) -> None:
    status, _ = ask(port, "GET", "/dashboard", Cookie="x" * 40_000)
    assert status == 431


def test_it_ends_when_asked_to(storage: Storage, store: FolderStore, study: optuna.Study) -> None:
    with build_server(storage, store, LOOPBACK) as server:
        assert ask(server.port, "GET", "/api/meta")[0] == 200
    with pytest.raises(ConnectionError):
        ask(server.port, "GET", "/api/meta")
