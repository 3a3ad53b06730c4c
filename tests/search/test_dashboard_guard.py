"""The guard before the dashboard, and what becomes of the dashboard's answers."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from optuna.artifacts.exceptions import ArtifactNotFound
from sqlalchemy.exc import OperationalError
from werkzeug.test import Client, TestResponse

from kidneyseg.errors import StorageLostError
from kidneyseg.search import dashboard_answers
from kidneyseg.search.dashboard_answers import (
    MOST_TRIALS_OF_CONTOUR,
    Answers,
    Errors,
    HeavyRequests,
)
from kidneyseg.search.dashboard_guard import Guard, Health, WSGIApp
from kidneyseg.search.dashboard_login import BURST, Login

LOGIN = Login(user="viewer", password="correct horse battery")
RIGHT = ("viewer", "correct horse battery")
WRONG = ("viewer", "incorrect horse battery")


def answering(content_type: str = "text/html", **headers: str) -> WSGIApp:
    """A dashboard that answers everything with the same."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", content_type), *headers.items()])
        return [b"secret"]

    return app


def raising(error: Exception) -> WSGIApp:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise error

    return app


@pytest.fixture
def stranger() -> Client:
    """Somebody before a dashboard with a login."""
    return Client(Guard(app=answering(), is_healthy=lambda: True, login=LOGIN))


def test_with_the_login_it_is_open(stranger: Client) -> None:
    assert stranger.get("/api/studies", auth=RIGHT).data == b"secret"


@pytest.mark.parametrize("auth", [None, WRONG, ("viewer", ""), ("root", RIGHT[1])])
def test_without_it_one_is_asked_for_it(stranger: Client, auth: tuple[str, str] | None) -> None:
    answer = stranger.get("/api/studies", auth=auth)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert b"secret" not in answer.data


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !!!", "Basic /////w==", "Basic dmlld2Vy", "Bearer x", ""]
)
def test_a_header_that_is_none_is_a_wrong_one(stranger: Client, header: str) -> None:
    assert stranger.get("/", headers={"Authorization": header}).status_code == 401


def test_who_guesses_is_slowed_down_even_with_the_right_password(stranger: Client) -> None:
    for _ in range(BURST):
        assert stranger.get("/", auth=WRONG).status_code == 401
    answer = stranger.get("/", auth=RIGHT)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


def test_who_has_not_tried_yet_is_not_slowed_down(stranger: Client) -> None:
    for _ in range(2 * BURST):
        assert stranger.get("/").status_code == 401
    assert stranger.get("/", auth=RIGHT).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("login", [LOGIN, None])
def test_nobody_does_more_than_look(method: str, login: Login | None) -> None:
    client = Client(Guard(app=answering(), is_healthy=lambda: True, login=login))
    environ = {"REQUEST_METHOD": method}
    answer = client.get("/", auth=RIGHT, environ_overrides=environ)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/art\xffifacts/1/2/a", "/api/studies\x00", "/ x", "/\u00e9"])
def test_a_path_from_which_the_dashboard_would_drop_bytes_is_none(path: str) -> None:
    client = Client(Guard(app=answering(), is_healthy=lambda: True, login=None))
    answer = client.get("/", environ_overrides={"PATH_INFO": path})
    assert answer.status_code == 404


@pytest.mark.parametrize(("healthy", "status"), [(True, 200), (False, 503)])
def test_health_is_told_to_everybody_without_data(healthy: bool, status: int) -> None:
    client = Client(Guard(app=answering(), is_healthy=lambda: healthy, login=LOGIN))
    answer = client.get("/healthz", headers={"Host": "10.0.0.7:8080"})
    assert answer.status_code == status
    assert b"secret" not in answer.data
    assert len(answer.data) < 20


def test_the_database_is_not_asked_for_every_stranger() -> None:
    asked: list[bool] = []

    def look() -> bool:
        asked.append(True)
        return True

    health = Health(look)
    assert [health() for _ in range(20)] == [True] * 20
    assert len(asked) == 1


def artifact(content_type: str, **headers: str) -> TestResponse:
    app = answering(content_type, **{"Access-Control-Allow-Origin": "*", **headers})
    return Client(Answers(app=app)).get("/artifacts/1/2/0a")


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "image/svg+xml", "application/pdf", "text/markdown", "image/png; x", "text/csv"],
)
def test_files_are_handed_out_not_shown(content_type: str) -> None:
    answer = artifact(content_type)
    assert answer.headers["Content-Disposition"] == "attachment"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_pictures_are_shown_in_a_sandbox() -> None:
    answer = artifact("image/png")
    assert "Content-Disposition" not in answer.headers
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_files_are_closed_to_other_pages_of_the_web() -> None:
    answer = artifact("image/png")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_dashboards_own_page_keeps_its_policy() -> None:
    app = answering(**{"Content-Security-Policy": "default-src 'self'"})
    answer = Client(Answers(app=app)).get("/dashboard")
    assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ArtifactNotFound("not in secret"), 404),
        (StorageLostError("secret: away"), 503),
        (OperationalError("SELECT secret", {}, Exception("secret")), 503),
        (ValueError("secret"), 500),
    ],
)
def test_errors_are_one_line_that_gives_nothing_away(error: Exception, status: int) -> None:
    answer = Client(Errors(app=raising(error))).get("/artifacts/1/2/0a")
    assert answer.status_code == status
    assert b"secret" not in answer.data
    assert answer.data.count(b"\n") == 1


def heavy(n_trials: int, app: WSGIApp | None = None) -> Client:
    return Client(HeavyRequests(app=app or answering(), count_trials=lambda _: n_trials))


@pytest.mark.parametrize("path", ["contour", "contour/", "contour//"])
def test_a_figure_that_grows_with_the_square_is_bounded(path: str) -> None:
    assert heavy(MOST_TRIALS_OF_CONTOUR).get(f"/api/studies/1/plot/{path}").status_code == 200
    assert heavy(MOST_TRIALS_OF_CONTOUR + 1).get(f"/api/studies/1/plot/{path}").status_code == 413


@pytest.mark.parametrize("path", ["/api/studies/1/plot/slice", "/csv/1", "/api/studies/1"])
def test_others_are_not(path: str) -> None:
    assert heavy(10_000).get(path).data == b"secret"


@pytest.fixture
def held() -> Iterator[tuple[WSGIApp, threading.Event, threading.Event]]:
    """A dashboard that works on a figure until it may end; when it began, and that it may."""
    began, may_end = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        began.set()
        may_end.wait(20)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b"{}"]

    yield app, began, may_end
    may_end.set()


def test_heavy_requests_wait_for_each_other(
    held: tuple[WSGIApp, threading.Event, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, began, may_end = held
    client = heavy(1, app)
    monkeypatch.setattr(dashboard_answers, "HEAVY_WAIT_SECONDS", 0.05)
    first = threading.Thread(target=lambda: client.get("/csv/1").close())
    first.start()
    began.wait(20)
    answer = client.get("/api/studies/1/plot/slice")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    may_end.set()
    first.join()
    assert client.get("/api/studies/1/plot/slice").status_code == 200


def test_a_heavy_request_that_fails_lets_the_next_one_in() -> None:
    client = Client(
        Errors(app=HeavyRequests(app=raising(ValueError("no")), count_trials=lambda _: 1))
    )
    for _ in range(3):
        assert client.get("/csv/1").status_code == 500
