"""Upgrading the schema of a database, on request."""

import sqlite3
from contextlib import closing
from pathlib import Path

from optuna.storages import RDBStorage
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from kidneyseg.errors import StorageError
from kidneyseg.search.migrating import upgrade_schema, wants_upgrade
from kidneyseg.search.storage import hide_password, parse_address


def upgrade_database(address: str) -> list[str]:
    """Upgrade Optuna's tables and ours; say what was done, nothing where nothing was to do.

    A SQLite file is copied first, beside itself. Nobody may work on the database meanwhile. Raises
    StorageError where it is not there, cannot be upgraded, or is of a newer version.
    """
    url = parse_address(address)
    path = sqlite_file(address)
    if path is not None and not path.is_file():
        raise StorageError(f"{path}: no such database; nothing to upgrade")
    try:
        rdb = RDBStorage(url.render_as_string(hide_password=False), skip_compatibility_check=True)
        try:
            if not wants_upgrade(rdb, hide_password(url)):
                return []
            copied = [] if path is None else [f"copied before: {_copy(path)}"]
            return [*copied, *upgrade_schema(rdb, hide_password(url))]
        finally:
            rdb.engine.dispose()
    except SQLAlchemyError as error:
        raise StorageError(f"{hide_password(url)}: {_reason(error, url)}") from None


def sqlite_file(address: str) -> Path | None:
    """The file of a SQLite database; None for other databases. Raises StorageError."""
    url = parse_address(address)
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database))


def _copy(path: Path) -> Path:
    """Copy a SQLite database whole, with what its log holds; an earlier copy is not touched."""
    names = (path.with_name(f"{path.name}.before-upgrade-{n}") for n in range(1, 1000))
    copy = next(name for name in names if not name.exists())
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def _reason(error: SQLAlchemyError, url: URL) -> str:
    text = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return text.replace(str(url.password), "***") if url.password else text
