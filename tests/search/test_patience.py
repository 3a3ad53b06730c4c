"""Calls are repeated while the database is away, and only then, and not for ever."""

import sqlite3
import threading
import time
from collections.abc import Callable

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from kidneyseg.search.patience import Patience, is_outage

AWAY = OperationalError("SELECT 1", None, sqlite3.OperationalError("away"))
TWICE = IntegrityError("INSERT", None, sqlite3.IntegrityError("twice"))


class TurnedClock:
    """A monotonic clock that goes on only while somebody waits, and notes how long."""

    def __init__(self) -> None:
        self.now = 500.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.now += seconds
        return False

    def is_set(self) -> bool:
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> TurnedClock:
    clock = TurnedClock()
    monkeypatch.setattr("kidneyseg.search.patience.time.monotonic", clock)
    return clock


def patient(seconds: float, clock: TurnedClock) -> Patience:
    patience = Patience(seconds)
    patience._hurry = clock  # type: ignore[assignment]
    return patience


def failing(times: int, error: Exception = AWAY) -> Callable[[], str]:
    left = [error] * times

    def call() -> str:
        if left:
            raise left.pop()
        return "answer"

    return call


def wrapped(*, cause: Exception | None = None, context: Exception | None = None) -> Exception:
    """An error as Optuna raises it from another, or while it handles another."""
    error = StorageInternalError("wrapped")
    error.__cause__, error.__context__ = cause, context
    return error


def test_a_call_is_repeated_until_the_database_is_back(clock: TurnedClock) -> None:
    assert patient(600, clock).outlast(failing(5)) == "answer"
    assert len(clock.pauses) == 5


def test_pauses_double_up_to_a_quarter_of_a_minute_and_differ_from_worker_to_worker(
    clock: TurnedClock,
) -> None:
    patient(600, clock).outlast(failing(12))
    longest = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15, 15, 15, 15, 15]
    shares = [pause / most for pause, most in zip(clock.pauses, longest, strict=True)]
    assert all(0.5 <= share <= 1 for share in shares)
    assert len(set(shares)) == len(shares)


def test_patience_ends_with_the_last_error(clock: TurnedClock) -> None:
    start = clock.now
    with pytest.raises(OperationalError, match="away"):
        patient(100, clock).outlast(failing(10_000))
    assert 100 < clock.now - start <= 100 + 15


def test_without_patience_the_first_error_is_the_last(clock: TurnedClock) -> None:
    clock.now += 1e-6
    with pytest.raises(OperationalError):
        patient(-1, clock).outlast(failing(1))
    assert clock.pauses == []


def test_every_call_has_all_the_patience(clock: TurnedClock) -> None:
    patience = patient(30, clock)
    for _ in range(5):
        assert patience.outlast(failing(6)) == "answer"
    assert sum(clock.pauses) > 30


@pytest.mark.parametrize("error", [TWICE, ValueError("no"), KeyError("study")])
def test_what_is_no_outage_is_raised_at_once(error: Exception, clock: TurnedClock) -> None:
    with pytest.raises(type(error)):
        patient(600, clock).outlast(failing(1, error))
    assert clock.pauses == []


def test_asked_to_hurry_a_waiting_call_gives_up_at_once() -> None:
    patience = Patience(600)
    raised: list[Exception] = []

    def wait() -> None:
        try:
            patience.outlast(failing(10_000))
        except OperationalError as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    deadline = time.monotonic() + 10
    while not patience.is_waiting and time.monotonic() < deadline:
        time.sleep(0.005)
    assert patience.is_waiting
    patience.hurry()
    thread.join(10)
    assert raised == [AWAY]


def test_in_a_hurry_calls_that_succeed_do_and_those_that_fail_fail() -> None:
    patience = Patience(600)
    patience.hurry()
    assert patience.outlast(failing(0)) == "answer"
    with pytest.raises(OperationalError):
        patience.outlast(failing(1))


def test_it_is_waiting_until_a_call_succeeds(clock: TurnedClock) -> None:
    patience = patient(600, clock)
    seen = []
    call = failing(2)

    def look() -> str:
        seen.append(patience.is_waiting)
        return call()

    patience.outlast(look)
    assert seen == [False, True, True]
    assert not patience.is_waiting


@pytest.mark.parametrize(
    "error",
    [
        AWAY,
        InterfaceError("SELECT 1", None, Exception("connection already closed")),
        PoolTimeout("QueuePool limit reached"),
        PendingRollbackError("rolled back"),
        DBAPIError("SELECT 1", None, Exception("cut"), connection_invalidated=True),
        wrapped(cause=AWAY),
        wrapped(context=AWAY),
    ],
    ids=lambda error: type(error).__name__,
)
def test_these_say_that_the_database_is_away(error: Exception) -> None:
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        TWICE,
        wrapped(cause=TWICE),
        ProgrammingError("SELECT", None, Exception("no such table")),
        DataError("INSERT", None, Exception("value too long")),
        StorageInternalError("something else"),
        ValueError("away"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_these_say_something_else(error: Exception) -> None:
    assert not is_outage(error)
