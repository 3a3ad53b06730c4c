"""What in this machine, database and data would go wrong, and how to mend it."""

from collections.abc import Callable, Iterator
from functools import partial

from kidneyseg.errors import KidneysegError
from kidneyseg.runs import Runs
from kidneyseg.search.database_checks import (
    check_clock,
    check_connections,
    check_place,
    check_splits,
    check_versions,
    check_workers,
)
from kidneyseg.search.findings import Finding, error, ok
from kidneyseg.search.machine_checks import (
    check_data,
    check_disk,
    check_gpus,
    check_precision_here,
    check_shared_memory,
    check_writable,
)
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.upgrading import sqlite_file
from kidneyseg.settings import Environment

Check = Callable[[], list[Finding]]


def examine(address: str, environment: Environment) -> Iterator[Finding]:
    """Look at everything, and yield what is found. Nothing is made or changed.

    Raises StorageError for an address that is none.
    """
    runs = Runs(environment.common.runs)
    checks: list[tuple[str, Check]] = [
        ("GPUs", partial(check_gpus, environment.common.device)),
        (
            "precision",
            partial(
                check_precision_here, environment.common.device, environment.training.precision
            ),
        ),
        ("shared memory", check_shared_memory),
        ("runs folder", partial(check_writable, runs.folder)),
        ("disk", partial(check_disk, runs.folder, "runs")),
        ("disk", partial(check_disk, runs.cache(environment), "prepared slices")),
        ("data", partial(check_data, environment.data.folder)),
    ]
    for name, check in checks:
        yield from _guarded(name, check)
    yield from _examine_database(address, runs)


def _examine_database(address: str, runs: Runs) -> Iterator[Finding]:
    path = sqlite_file(address)
    if path is not None:
        yield from _guarded("database", partial(check_place, path))
        if not path.is_file():
            yield ok("database", f"{path} is not there yet: the first run makes it")
            return
    try:
        storage = open_storage(address, create=False, patience_seconds=0)
    except KidneysegError as failure:
        yield _not_open(str(failure))
        return
    try:
        yield ok("database", f"{storage.address} answers, and its schema is this version's")
        yield from _examine_storage(storage, runs)
    finally:
        storage.engine.dispose()


def _examine_storage(storage: Storage, runs: Runs) -> Iterator[Finding]:
    checks: list[tuple[str, Check]] = [
        ("clock", partial(check_clock, storage)),
        ("connections", partial(check_connections, storage)),
        ("versions", partial(check_versions, storage)),
        ("workers", partial(check_workers, storage)),
        ("split", partial(check_splits, storage, runs)),
    ]
    for name, check in checks:
        yield from _guarded(name, check)


def _not_open(message: str) -> Finding:
    """Why a database cannot be opened: its message holds the cure after the semicolon."""
    if "doctor --upgrade" in message:
        return error("database", message, "kidneyseg-search doctor --upgrade")
    found, _, cure = message.partition("; ")
    return error("database", found, cure or "see --storage and the server")


def _guarded(name: str, check: Check) -> list[Finding]:
    """What a check finds; one that fails itself is a finding, too."""
    try:
        return check()
    except Exception as failure:  # noqa: BLE001 - whatever is wrong here, the others go on
        words = f"{type(failure).__name__}: {failure}".splitlines()[0]
        return [error(name, f"could not be looked at ({words})", "mend this first")]
