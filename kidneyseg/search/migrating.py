"""The schema of the database: made when it is new, checked when it is opened, upgraded on request.

Optuna's tables have a version of Optuna's (`alembic_version`); ours have one of their own
(`kidneyseg_version`), and Optuna's is left alone. Steps lie in `kidneyseg/search/migrations/`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine, inspect, text

from kidneyseg.errors import StorageError
from kidneyseg.search import migrations
from kidneyseg.search.tables import OURS, leases

VERSION_TABLE = "kidneyseg_version"
FIRST = "0001"  # of databases that hold leases and no version of ours
CURE = "kidneyseg-search doctor --upgrade"
LOCK = 7_141_907_112  # PostgreSQL's advisory lock of whoever makes or upgrades our tables


def prepare_schema(rdb: RDBStorage, address: str) -> None:
    """Make our tables where the database is new; refuse one that is not of this version.

    `address` is how messages call the database. Raises StorageError for a schema, Optuna's or
    ours, that wants an upgrade or that a newer version made; its connections are closed then.
    """
    try:
        _check_optuna_schema(rdb, address)
        if read_revision(rdb.engine) is None:
            with _alone(rdb.engine) as connection:
                if _revision(connection) is None:  # nobody was faster
                    _make(connection)
        _check_revision(read_revision(rdb.engine), address)
    except StorageError:
        rdb.engine.dispose()
        raise


def read_revision(engine: Engine) -> str | None:
    """The revision of our tables in a database; None where there are none."""
    with engine.connect() as connection:
        return _revision(connection)


def newest_revision() -> str:
    """The revision that this version works with."""
    return str(_steps().get_current_head())


def wants_upgrade(rdb: RDBStorage, address: str) -> bool:
    """Whether the schema, Optuna's or ours, is older. Raises StorageError for a newer one."""
    revision = read_revision(rdb.engine)
    _check_known(revision, address)
    found, newest = rdb.get_current_version(), rdb.get_head_version()
    if found not in rdb.get_all_versions():
        raise _too_new("Optuna's tables", found, newest, address)
    return found != newest or revision != newest_revision()


def upgrade_schema(rdb: RDBStorage, address: str) -> list[str]:
    """Upgrade Optuna's tables, then ours; say what was done, nothing where nothing was to do.

    Nobody may work on the database meanwhile. Raises StorageError for a schema of a newer version.
    """
    done: list[str] = []
    if not wants_upgrade(rdb, address):
        return done
    before, newest = rdb.get_current_version(), rdb.get_head_version()
    if before != newest:
        with _quiet():
            rdb.upgrade()
        done.append(f"Optuna's tables: from {before} to {newest}")
    with _alone(rdb.engine) as connection:
        revision = _revision(connection)
        if revision is None:
            _make(connection)
            done.append(f"our tables: made at {newest_revision()}")
        elif revision != newest_revision():
            _climb(connection, revision)
            done.append(f"our tables: from {revision} to {newest_revision()}")
    return done


def _check_optuna_schema(rdb: RDBStorage, address: str) -> None:
    found, newest = rdb.get_current_version(), rdb.get_head_version()
    if found == newest:
        return
    if found in rdb.get_all_versions():
        raise _too_old("Optuna's tables", found, newest, address)
    raise _too_new("Optuna's tables", found, newest, address)


def _check_revision(revision: str | None, address: str) -> None:
    _check_known(revision, address)
    if revision != newest_revision():
        raise _too_old("our tables", str(revision), newest_revision(), address)


def _check_known(revision: str | None, address: str) -> None:
    if revision is None:
        return
    try:
        _steps().get_revision(revision)
    except CommandError:
        raise _too_new("our tables", revision, newest_revision(), address) from None


def _too_old(what: str, found: str, newest: str, address: str) -> StorageError:
    return StorageError(
        f"{address}: schema wants an upgrade: {CURE} ({what} are of revision {found}, expected "
        f"{newest}; stop all workers first)"
    )


def _too_new(what: str, found: str, newest: str, address: str) -> StorageError:
    return StorageError(
        f"{address}: {what} are of revision {found}, newer than {newest}, the newest that this "
        "version knows; update kidneyseg, or name another --storage"
    )


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A transaction in which nobody else makes or upgrades our tables.

    SQLite has one lock for all that write; in PostgreSQL we take one of our own.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        elif engine.dialect.name == "sqlite" and not _is_in_transaction(connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's steps set up logging to the terminal, where nobody has."""
    root, nobody = logging.getLogger(), logging.NullHandler()
    root.addHandler(nobody)
    try:
        yield
    finally:
        root.removeHandler(nobody)


def _is_in_transaction(connection: Connection) -> bool:
    """Whether the driver has begun: ours does at once, sqlite3 of itself at the first change."""
    return bool(getattr(connection.connection.driver_connection, "in_transaction", False))


def _revision(connection: Connection) -> str | None:
    found = _context(connection).get_current_revision()
    if found is None and inspect(connection).has_table(leases.name):
        return FIRST
    return found


def _make(connection: Connection) -> None:
    """Make our tables at the newest revision at once."""
    leases.metadata.create_all(connection, tables=list(OURS))
    _context(connection).stamp(_steps(), newest_revision())


def _climb(connection: Connection, revision: str) -> None:
    """Take every step from a revision to the newest."""
    steps = _steps()

    def to_newest(_heads: object, _context: object) -> Any:
        return steps._upgrade_revs(newest_revision(), revision)

    context = _context(connection, fn=to_newest)
    if context.get_current_revision() is None:
        context.stamp(steps, revision)
    with Operations.context(context):
        context.run_migrations()


def _context(connection: Connection, **options: Any) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, **options})


def _steps() -> ScriptDirectory:
    folder = Path(migrations.__file__).parent
    return ScriptDirectory(folder, version_locations=[folder])
