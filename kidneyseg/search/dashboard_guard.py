"""What stands between strangers and optuna-dashboard, which has no login and trusts everybody.

It only looks: GET and HEAD, whoever asks. With a login everything but `/healthz` asks for it;
without one it answers to this machine's own names alone, as any page that a browser opens can send
requests to 127.0.0.1 under a name of its own (DNS rebinding).
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from werkzeug.datastructures import WWWAuthenticate
from werkzeug.wrappers import Request, Response

from kidneyseg.search.dashboard_login import FailureLimit, Login

THIS_MACHINE = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?")  # as a Host header
PLAIN_PATH = re.compile(r"[!-~]*")  # all of the dashboard's; of others optuna-dashboard drops bytes
HEALTH = "/healthz"
HEALTH_SECONDS = 2.0  # that an answer about the database holds

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A WSGI application that lets through what may pass to another."""

    app: WSGIApp
    is_healthy: Callable[[], bool]
    login: Login | None  # without one: for this machine alone
    limit: FailureLimit = field(default_factory=FailureLimit)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        answer = self._refusal(request)
        return (answer or self.app)(environ, start_response)

    def _refusal(self, request: Request) -> Response | None:
        """What is answered in place of the dashboard; None where the request may pass."""
        if request.method not in ("GET", "HEAD"):
            return words(405, "read-only: GET alone", Allow="GET, HEAD")
        path = request.environ.get("PATH_INFO", "")
        if path == HEALTH:
            return words(200, "ok") if self.is_healthy() else words(503, "no database")
        if not PLAIN_PATH.fullmatch(path):
            return words(404, "no such page")
        if self.login is not None:
            return self._ask_for_login(request, self.login)
        if not THIS_MACHINE.fullmatch(request.environ.get("HTTP_HOST", "")):
            return words(403, "ask for 127.0.0.1 or localhost")
        return None

    def _ask_for_login(self, request: Request, login: Login) -> Response | None:
        address = request.remote_addr or ""
        if seconds := self.limit.wait_seconds(address):
            return words(429, "too many wrong passwords", **{"Retry-After": str(ceil(seconds))})
        if login.admits(request.authorization):
            return None
        if "Authorization" in request.headers:
            self.limit.note(address)
            log.warning("dashboard: wrong user or password from %s", address)
        answer = words(401, "log in to see the studies")
        answer.www_authenticate = WWWAuthenticate(
            "basic", {"realm": "kidneyseg", "charset": "UTF-8"}
        )
        return answer


class Health:
    """Whether the database answers, looked up at most every other second."""

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._until, self._answer = 0.0, False

    def __call__(self) -> bool:
        with self._lock:
            if time.monotonic() >= self._until:
                self._answer = self._look()
                self._until = time.monotonic() + HEALTH_SECONDS
            return self._answer


def words(status: int, text: str, **headers: str) -> Response:
    """An answer of one line."""
    return Response(f"{text}\n", status=status, headers=headers, content_type="text/plain")
