"""The dashboard: to look at from this machine, and nothing else."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator

import optuna
import pytest

from kidneyseg.errors import CorrectableError
from kidneyseg.search.dashboard import build_server
from kidneyseg.search.storage import Storage


@pytest.fixture
def study(storage: Storage) -> optuna.Study:
    study = optuna.create_study(storage=storage.optuna, study_name="kidneys", direction="maximize")
    study.ask()
    return study


@pytest.fixture
def port(storage: Storage, study: optuna.Study) -> Iterator[int]:
    """A server of a study's dashboard, on a free port."""
    with build_server(storage, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(
    port: int, method: str, path: str, *, host: str | None = None, body: str | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Content-Type": "application/json", **({"Host": host} if host else {})}
    connection.request(method, path, body=body, headers=headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


def test_the_page_is_served(port: int) -> None:
    status, content = ask(port, "GET", "/dashboard")
    assert status == 200
    assert b"<html" in content


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


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example"])
def test_a_request_for_another_host_is_refused(port: int, host: str) -> None:
    status, content = ask(port, "GET", "/api/studies", host=host)
    assert status == 403
    assert b"kidneys" not in content


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_this_machine_is_known_by_its_loopback_names(port: int, host: str) -> None:
    assert ask(port, "GET", "/api/studies", host=host)[0] == 200
    assert ask(port, "GET", "/api/studies", host=f"{host}:{port}")[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "my-machine", ""])
def test_it_listens_on_loopback_only(storage: Storage, host: str) -> None:
    with pytest.raises(CorrectableError, match=rf"--host {host}: .* ssh -L 8080:127\.0\.0\.1:8080"):
        build_server(storage, host, 8080)


def test_it_cannot_be_reached_at_another_address_of_this_machine(port: int) -> None:
    with socket.socket() as probe:
        probe.settimeout(5)
        assert probe.connect_ex(("127.0.0.2", port)) != 0


def test_a_port_that_is_taken_is_told(storage: Storage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CorrectableError, match=f"--port {port}: cannot be listened on"):
            build_server(storage, "127.0.0.1", port)


def test_a_port_that_cannot_be_is_told(storage: Storage) -> None:
    with pytest.raises(CorrectableError, match="--port 70000: cannot be listened on"):
        build_server(storage, "127.0.0.1", 70000)
