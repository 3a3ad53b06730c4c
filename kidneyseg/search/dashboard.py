"""optuna-dashboard on the database, with the trials' files: to look at, and nothing else.

On this machine without a login; at any other address only with one. Everybody who may look sees all
studies of the database, and nobody changes anything.
"""

import logging
from functools import partial

import optuna_dashboard

from kidneyseg.errors import CorrectableError
from kidneyseg.search.artifact_stores import ArtifactStore
from kidneyseg.search.dashboard_answers import (
    Answers,
    Errors,
    HeavyRequests,
    NarrowPages,
    count_trials,
)
from kidneyseg.search.dashboard_guard import Guard, Health, WSGIApp
from kidneyseg.search.dashboard_login import PASSWORD_VARIABLE, Login
from kidneyseg.search.dashboard_server import Address, Server, make_server
from kidneyseg.search.storage import Storage

PATIENCE_SECONDS = 5.0  # that a page waits for a database that is away

log = logging.getLogger(__name__)


def build_server(
    storage: Storage, store: ArtifactStore, address: Address, login: Login | None = None
) -> Server:
    """A server of the dashboard, listening and not yet serving.

    Raises CorrectableError for an address that others reach without a login, and one that cannot
    be listened on.
    """
    check_address(address, login)
    return make_server(build_app(storage, store, login), address)


def build_app(storage: Storage, store: ArtifactStore, login: Login | None = None) -> WSGIApp:
    """The dashboard as a WSGI application; without a login it answers to loopback names alone."""
    dashboard = optuna_dashboard.wsgi(storage.optuna, artifact_store=store)
    dashboard.catchall = False  # errors are told here, not on a page of its own
    heavy = HeavyRequests(
        app=NarrowPages(app=dashboard), count_trials=partial(count_trials, storage)
    )
    health = Health(partial(answers, storage))
    return Answers(app=Guard(app=Errors(app=heavy), is_healthy=health, login=login))


def check_address(address: Address, login: Login | None) -> None:
    """Refuse an address that other machines reach, without a login. Raises CorrectableError."""
    if login is None and not address.is_loopback:
        port = address.port or 8080
        raise CorrectableError(
            f"--host {address.host}: other machines could reach it, and it has no login; "
            f"give a password ({PASSWORD_VARIABLE} or --password-file), or stay on 127.0.0.1 and "
            f"reach it by ssh -L {port}:127.0.0.1:{port}"
        )


def answers(storage: Storage) -> bool:
    """Whether the database answers now, without any patience."""
    try:
        connection = storage.engine.raw_connection()
        try:
            connection.cursor().execute("SELECT 1 FROM studies LIMIT 1")
        finally:
            connection.close()
    except Exception as error:  # noqa: BLE001 - each driver has errors of its own
        log.warning("dashboard: no database (%s)", type(error).__name__)
        return False
    return True
