"""What people ask of a study: how many finished trials, and whether it shall stop.

Kept in a table of our own, changed in single statements, so that calls from several machines at the
same instant lose nothing.
"""

from dataclasses import dataclass

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from kidneyseg.search.storage import Storage
from kidneyseg.search.tables import orders, trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked of a study."""

    n_trials: int = 0  # finished trials, by whoever asked for most
    stop: str | None = None  # why no new trial may begin
    stop_now: bool = False  # running trials are handed back, too
    failures_from: int = 0  # number of the first trial whose failure counts


def read_order(storage: Storage, study_id: int) -> Order:
    """Read what is asked of a study; nothing, where nobody asked yet."""
    query = select(orders).where(orders.c.study_id == study_id)
    row = storage.read(query).first()
    if row is None:
        return Order()
    return Order(
        n_trials=row.n_trials,
        stop=row.stop,
        stop_now=row.stop_now,
        failures_from=row.failures_from,
    )


def ask_for(storage: Storage, study_id: int, n_trials: int) -> None:
    """Ask for at least so many finished trials, and have a study that was stopped go on.

    Failures from before no longer count.
    """
    claim(storage, study_id)
    next_number = select(func.count()).where(trials.c.study_id == study_id).scalar_subquery()
    of_study = orders.c.study_id == study_id
    storage.change(
        update(orders).where(of_study, orders.c.n_trials < n_trials).values(n_trials=n_trials),
        update(orders).where(of_study).values(stop=None, stop_now=False, failures_from=next_number),
    )


def ask_to_stop(storage: Storage, study_id: int, reason: str, *, now: bool = False) -> None:
    """Let no new trial begin; with `now`, have the running ones handed back."""
    claim(storage, study_id)
    change = update(orders).where(orders.c.study_id == study_id)
    storage.change(change.values(stop=reason, stop_now=now))


def stop_unless_stopped(storage: Storage, study_id: int, reason: str) -> None:
    """Let no new trial begin; what a person asked for before stays as it is."""
    claim(storage, study_id)
    of_study = (orders.c.study_id == study_id, orders.c.stop.is_(None))
    storage.change(update(orders).where(*of_study).values(stop=reason, stop_now=False))


def claim(storage: Storage, study_id: int) -> bool:
    """Make the row of a study's order; whether it was this call, of all, that made it."""
    query = select(orders.c.study_id).where(orders.c.study_id == study_id)
    if storage.read(query).first() is not None:
        return False
    row = {"study_id": study_id, "n_trials": 0, "stop_now": False, "failures_from": 0}
    try:
        storage.change(insert(orders).values(row))
    except IntegrityError:
        return False  # another made it meanwhile
    return True
