"""The names of studies for a shell that completes them: at once, or none.

Neither Optuna nor SQLAlchemy is imported, and nothing is made, migrated or waited for.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

NAMES = "SELECT study_name FROM studies ORDER BY study_name"
PATIENCE_SECONDS = 2  # libpq takes no less


def query_names(address: str) -> list[str]:
    """The names of all studies in the database; none where it does not answer at once."""
    driver, _, rest = address.partition("://")
    try:
        match driver.partition("+")[0]:
            case "sqlite":
                return _of_sqlite(Path(rest.removeprefix("/").partition("?")[0]))
            case "postgresql" | "postgres":
                return _of_postgresql(f"postgresql://{rest}")
    except Exception:  # noqa: BLE001 - whoever completes a word is told of no error
        return []
    return []


def _of_sqlite(path: Path) -> list[str]:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE_SECONDS)) as connection:
        return [name for (name,) in connection.execute(NAMES)]


def _of_postgresql(address: str) -> list[str]:
    import psycopg  # noqa: PLC0415 - only where it is needed: a shell waits

    options = f"-c statement_timeout={PATIENCE_SECONDS}s"
    with psycopg.connect(address, connect_timeout=PATIENCE_SECONDS, options=options) as connection:
        return [name for (name,) in connection.execute(NAMES)]
