"""optuna-dashboard on the database: to look at, on this machine, read-only."""

import re
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard

from kidneyseg.errors import CorrectableError
from kidneyseg.search.storage import Storage

LOOPBACK = ("127.0.0.1", "localhost", "::1")
THIS_MACHINE = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?")  # as a Host header

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
        """Keep requests out of the terminal."""


class _LoopbackServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def build_server(storage: Storage, host: str, port: int) -> WSGIServer:
    """A server of the dashboard, not yet serving. Port 0 takes a free one.

    The dashboard has no login, and would let any page that a browser opens change trials: so it
    listens on loopback only, answers GET only, and only to requests for this machine by name.
    Raises CorrectableError for another host and for a port that is taken.
    """
    check_host(host, port)
    app = read_only(optuna_dashboard.wsgi(storage.optuna))
    try:
        return make_server(
            "127.0.0.1", port, app, server_class=_LoopbackServer, handler_class=_QuietHandler
        )
    except (OSError, OverflowError) as error:
        raise CorrectableError(
            f"--port {port}: cannot be listened on ({error}); try another"
        ) from error


def check_host(host: str, port: int) -> None:
    """Refuse an address that other machines could reach. Raises CorrectableError."""
    if host not in LOOPBACK:
        raise CorrectableError(
            f"--host {host}: the dashboard has no login and stays on this machine; expected "
            f"127.0.0.1, reached from elsewhere by ssh -L {port}:127.0.0.1:{port}"
        )


def read_only(app: WSGIApp) -> WSGIApp:
    """Let through what only looks, and only requests that name this machine as their host."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refuse(start_response, "405 Method Not Allowed", "read-only: GET alone")
        if not THIS_MACHINE.fullmatch(environ.get("HTTP_HOST", "")):
            return _refuse(start_response, "403 Forbidden", "ask for 127.0.0.1 or localhost")
        return app(environ, start_response)

    return guarded


def _refuse(start_response: Callable[..., Any], status: str, words: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{words}\n".encode()]
