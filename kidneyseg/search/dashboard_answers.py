"""What optuna-dashboard answers, made safe and readable.

Files are sandboxed, heavy requests bounded, errors told in a line, pages as wide as the window.

Files of trials may hold anything, and browsers run what they are given: whatever is no page of the
dashboard's own is sandboxed, and of files only PNG pictures are shown in place.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

from optuna.artifacts.exceptions import ArtifactNotFound
from sqlalchemy import func, select
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response
from werkzeug.wsgi import ClosingIterator

from kidneyseg.errors import StorageError, StorageLostError
from kidneyseg.search.dashboard_guard import Environ, StartResponse, WSGIApp, words
from kidneyseg.search.patience import DATABASE_ERRORS
from kidneyseg.search.storage import Storage
from kidneyseg.search.tables import trials

CONTENTS = "Content-Security-Policy"
SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
NARROW = b"""<style>
main, main * { min-width: 0 }
main table { min-width: 0 !important }
main td { overflow-wrap: anywhere }
main td:first-child { overflow-wrap: normal }
</style>"""
HEAVY = re.compile(r"/api/studies/[^/]+/(plot/[^/]+|param_importances)/*|/csv/.*")
CONTOUR = re.compile(r"/api/studies/([0-9]+)/plot/contour/*")
MOST_TRIALS_OF_CONTOUR = 200  # each pair of hyper-parameters has a grid of their square: 22 MB at 7
HEAVY_AT_ONCE = 1
HEAVY_WAIT_SECONDS = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """A WSGI application: another one's answers, made safe."""

    app: WSGIApp

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")

        def start(status: str, headers: list[tuple[str, str]], *more: object) -> object:
            return start_response(status, _safe(path, headers), *more)

        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # optuna-dashboard cannot do without
        return self.app(environ, start)


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowPages:
    """A WSGI application: another one's pages, no wider than the window.

    optuna-dashboard writes every attribute in one line and makes the page as wide as the longest:
    12,000 pixels for the Dice of 40 cases. With this each line is scrolled by itself.
    """

    app: WSGIApp

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not path.startswith("/dashboard") or environ["REQUEST_METHOD"] != "GET":
            return self.app(environ, start_response)
        page = Response.from_app(self.app, environ, buffered=True)
        if page.status_code == HTTPStatus.OK:
            page.set_data(page.get_data().replace(b"</head>", NARROW + b"</head>", 1))
        return page(environ, start_response)


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """A WSGI application: another one's errors become answers of one line."""

    app: WSGIApp

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return self.app(environ, start_response)
        except (ArtifactNotFound, StorageError):
            answer = words(404, "this file is no longer kept")
        except (StorageLostError, *DATABASE_ERRORS) as error:
            log.warning("dashboard: %s", type(error).__name__)
            answer = words(503, "the database, or the store of files, does not answer")
        except Exception:
            log.exception("dashboard: %s", environ.get("PATH_INFO"))
            answer = words(500, "this went wrong; the server's log says why")
        return answer(environ, start_response)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeavyRequests:
    """A WSGI application: of another one's heavy requests one at a time, and none without bound."""

    app: WSGIApp
    count_trials: Callable[[int], int]  # of the study of that number
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(HEAVY_AT_ONCE))

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not HEAVY.fullmatch(path):
            return self.app(environ, start_response)
        contour = CONTOUR.fullmatch(path)
        if contour and self.count_trials(int(contour[1])) > MOST_TRIALS_OF_CONTOUR:
            answer = words(
                413,
                f"more than {MOST_TRIALS_OF_CONTOUR} trials: too large a figure; see the report",
            )
            return answer(environ, start_response)
        if not self.turn.acquire(timeout=HEAVY_WAIT_SECONDS):
            return words(503, "busy", **{"Retry-After": "10"})(environ, start_response)
        try:
            answered = self.app(environ, start_response)
        except BaseException:
            self.turn.release()
            raise
        return ClosingIterator(answered, [self.turn.release])


def count_trials(storage: Storage, study_id: int) -> int:
    """How many trials a study has."""
    query = select(func.count()).select_from(trials).where(trials.c.study_id == study_id)
    return int(storage.read(query).scalar_one())


def _safe(path: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers with which an answer may be shown."""
    safe = Headers(headers)
    safe.remove("Access-Control-Allow-Origin")  # files were open to every page of the web
    for name, value in HEADERS.items():
        safe[name] = value
    if path.startswith("/static/"):
        return safe.to_wsgi_list()
    safe["Cache-Control"] = "no-store"  # patients' pictures stay in no browser's cache
    safe.setdefault(CONTENTS, SANDBOX)
    if path.startswith("/artifacts/") and safe.get("Content-Type") != "image/png":
        safe["Content-Disposition"] = "attachment"
    return safe.to_wsgi_list()
