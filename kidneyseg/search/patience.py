"""Waiting for a database that is away: every call is repeated, with growing pauses.

An outage costs time, never work: a trial's checkpoint is on disk before its epoch is reported, and
the training process waits for the answer.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
    SQLAlchemyError,
    TimeoutError,  # noqa: A004 - its own, of the pool
)

DATABASE_ERRORS = (DBAPIError, PendingRollbackError, TimeoutError, StorageInternalError)
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 15.0

T = TypeVar("T")


class Patience:
    """How long calls are repeated while the database is away, and who asked to give up."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._hurry = threading.Event()
        self._away = threading.Event()
        self._lock = threading.Lock()
        self.outages = 0  # times that a call failed where the one before had not

    @property
    def is_waiting(self) -> bool:
        """Whether a call is being repeated right now."""
        return self._away.is_set()

    def hurry(self) -> None:
        """Wait no longer: calls that fail now fail at once."""
        self._hurry.set()

    def outlast(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, repeated while the database is away.

        Raises the last error when patience ends, and any error that is no outage at once.
        """
        deadline = time.monotonic() + self.seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = call()
            except (SQLAlchemyError, StorageInternalError) as error:
                if not is_outage(error) or self._hurry.is_set() or time.monotonic() > deadline:
                    raise
            else:
                self._away.clear()
                return answer
            self._go_away()
            self._hurry.wait(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _go_away(self) -> None:
        with self._lock:
            self.outages += not self._away.is_set()
            self._away.set()


def is_outage(error: BaseException) -> bool:
    """Whether an error, or what it came from, says that the database is away or overloaded."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (IntegrityError, ProgrammingError)):
            return False
        if isinstance(seen, (OperationalError, InterfaceError, TimeoutError, PendingRollbackError)):
            return True
        if isinstance(seen, DBAPIError) and seen.connection_invalidated:
            return True
        seen = seen.__cause__ or seen.__context__
    return False
