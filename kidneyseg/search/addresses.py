"""Which database is meant, where several places may name one."""

import os
from pathlib import Path

from kidneyseg.errors import StorageError
from kidneyseg.runs import STORAGE_VARIABLE, Runs

STORAGE_FILE_VARIABLE = "KIDNEYSEG_STORAGE_FILE"  # a file with the address, as containers have it


def storage_address(given: str | None, runs: Runs) -> str:
    """The database's address: the one given, the environment variable, or a SQLite file in `runs/`.

    `KIDNEYSEG_STORAGE_FILE` names a file that holds the address: a container's secret.
    Raises StorageError for a file that cannot be read.
    """
    return given or os.environ.get(STORAGE_VARIABLE) or _address_in_file() or runs.database_url


def _address_in_file() -> str:
    """The address in the file that the environment names; empty where it names none."""
    name = os.environ.get(STORAGE_FILE_VARIABLE)
    if not name:
        return ""
    try:
        address = Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "it is no text"
        raise StorageError(
            f"{STORAGE_FILE_VARIABLE} = {name}: cannot be read ({words}); expected a file with the "
            "database's address"
        ) from None
    if not address:
        raise StorageError(f"{STORAGE_FILE_VARIABLE} = {name}: empty; expected an address")
    return address
