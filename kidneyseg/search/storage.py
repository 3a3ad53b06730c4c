"""The database of trials: opened safely, named without its password.

SQLite is made safe for several processes (BEGIN IMMEDIATE, a write-ahead log, a long busy
timeout): `SELECT ... FOR UPDATE`, on which Optuna relies, does nothing there. PostgreSQL goes
through psycopg.
"""

import os
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy import URL, Connection, Engine, Executable, Result, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from kidneyseg.errors import StorageError
from kidneyseg.search.migrating import prepare_schema
from kidneyseg.search.patience import Patience
from kidneyseg.search.patient_storage import PatientStorage

BUSY_SECONDS = 60  # how long a process waits for another's SQLite transaction
CONNECT_SECONDS = 10
OPEN_ATTEMPTS = 6
READS = "kidneyseg_reads"  # execution option: a transaction that changes nothing
PATIENCE_SECONDS = 600.0  # that calls are repeated for, when the database goes away
SECRET_QUERY_KEYS = ("password", "sslpassword", "passfile")


optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own displays say what happens


class Storage:
    """An open database: Optuna's storage, and our own queries. Every call outlasts an outage."""

    def __init__(self, url: URL, optuna_storage: PatientStorage) -> None:
        self.address = hide_password(url)
        self.rdb = optuna_storage
        self.patience = optuna_storage.patience
        # Optuna wraps the storage in a cache; every study on it shares the cache.
        self.optuna = optuna.storages.get_storage(optuna_storage)

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine of the database."""
        engine: Engine = self.rdb.engine
        return engine

    def read(self, query: Executable) -> Result[Any]:
        """The rows of a query, all of them fetched."""

        def call() -> Result[Any]:
            with self.engine.connect() as connection:
                reading = connection.execution_options(**{READS: True})
                return reading.execute(query).freeze()()

        return self.patience.outlast(call)

    def change(self, *statements: Executable) -> int:
        """Make changes in one transaction; return how many rows the last one touched.

        While the database is away it is repeated: a change must mean the same when made twice.
        """

        def call() -> int:
            with self.engine.begin() as connection:
                counting = connection.execution_options(preserve_rowcount=True)  # of an INSERT
                results = [counting.execute(statement) for statement in statements]
            return results[-1].rowcount

        return self.patience.outlast(call)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file on this machine."""
        return self.engine.dialect.name == "sqlite"


def open_storage(
    address: str, *, create: bool = True, patience_seconds: float = PATIENCE_SECONDS
) -> Storage:
    """Open the database, making its tables where they are missing.

    Not there at the start is an error at once; away later is waited for, `patience_seconds` long.

    Raises StorageError for an address that cannot be used or reached; with `create` false also for
    a SQLite file that is not there.
    """
    url = parse_address(address)
    _prepare_sqlite_folder(url, create=create)
    for attempt in range(1, OPEN_ATTEMPTS + 1):
        try:
            opened = Storage(url, _open(url))
        except (SQLAlchemyError, ImportError, RuntimeError) as error:
            if attempt == OPEN_ATTEMPTS or not _made_by_another(error):
                raise StorageError(f"{hide_password(url)}: {_reason(error, url)}") from None
            time.sleep(random.uniform(0.1, 0.5) * attempt)
        else:
            opened.patience.seconds = patience_seconds
            return opened
    raise AssertionError("unreachable")


def parse_address(address: str) -> URL:
    """Read a SQLAlchemy address; `postgresql://` goes through psycopg. Raises StorageError."""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise StorageError(
            "storage address: not one that SQLAlchemy reads; expected for example "
            "sqlite:///runs/studies.db or postgresql://user@host/database"
        ) from None
    if "@" in (url.host or ""):
        # What stands before it may be the end of a password.
        raise StorageError("storage address: an @ in its password; expected it written as %40")
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    try:
        url.get_dialect()
    except (NoSuchModuleError, ImportError):
        raise StorageError(
            f"{hide_password(url)}: no driver for {url.drivername}; expected sqlite or "
            "postgresql, or install the driver"
        ) from None
    return url


def hide_password(url: URL) -> str:
    """The address as people may see it."""
    secret = {key: "***" for key in url.query if key in SECRET_QUERY_KEYS}
    hidden = url.update_query_dict(secret).render_as_string(hide_password=True)
    return hidden.replace("%2A%2A%2A", "***")


def _open(url: URL) -> PatientStorage:
    text, at_once = url.render_as_string(hide_password=False), Patience(0)
    rdb = PatientStorage(text, _engine_arguments(url), at_once)
    if url.get_backend_name() == "sqlite":
        _make_sqlite_safe(rdb.engine)
    prepare_schema(rdb, hide_password(url))
    return rdb


def _made_by_another(error: Exception) -> bool:
    """Whether two processes made the same tables at once, so that trying again helps."""
    text = str(error).lower()
    return any(
        words in text
        for words in ("already exists", "duplicate key", "unique constraint", "locked")
    )


def _engine_arguments(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    if url.get_backend_name() == "postgresql":
        return {
            "pool_pre_ping": True,
            "pool_size": 2,
            "max_overflow": 30,  # workers of one process: threads, mostly idle
            "connect_args": {
                "connect_timeout": CONNECT_SECONDS,
                "options": "-c TimeZone=UTC",
                "prepare_threshold": None,  # PgBouncer gives each transaction another connection
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 3,
                "tcp_user_timeout": 60_000,  # ms until a server that answers nothing counts as away
            },
        }
    return {"pool_pre_ping": True}


def _prepare_sqlite_folder(url: URL, *, create: bool) -> None:
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return
    path = Path(str(url.database))
    if not create and not path.is_file():
        raise StorageError(
            f"{path}: no such database; run a study first, or name another --storage"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path.parent}: cannot be made ({error.strerror})") from error
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise StorageError(f"{path}: cannot be written; expected a folder of your own")


def _make_sqlite_safe(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the begin event below opens transactions
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READS, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    engine.dispose()  # connections from before these events


def _reason(error: Exception, url: URL) -> str:
    """The first line of a driver's words, without the password."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    text = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    if url.password:
        text = text.replace(str(url.password), "***")
    return f"{text}; expected a database that can be reached"
