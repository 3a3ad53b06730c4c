"""Who works on a study now, as the table of workers tells it, by the database's clock."""

from typing import Any

from sqlalchemy import ColumnElement, Float, cast, extract, func, select

from kidneyseg.search.storage import Storage
from kidneyseg.search.tables import utc_now, workers

WATCHERS = 10  # workers of a study that look after the others


def count_workers(storage: Storage, study_id: int, within_seconds: float) -> int:
    """How many workers were seen lately."""
    return int(
        storage.read(select(func.count()).where(*_seen(study_id, within_seconds))).scalar_one()
    )


def find_watchers(storage: Storage, study_id: int, within_seconds: float) -> set[str]:
    """Those of the workers seen lately who look after all trials: the first by name.

    Those at place 0 of their process come before the others: workers of one process die together.
    """
    query = select(workers.c.worker).where(*_seen(study_id, within_seconds))
    query = query.order_by(workers.c.worker).limit(WATCHERS)
    found = list(storage.read(query.where(workers.c.worker.like("% 0"))).scalars())
    if len(found) < WATCHERS:
        found += [worker for worker in storage.read(query).scalars() if worker not in found]
    return set(found[:WATCHERS])


def seconds_since_1970(time: Any) -> ColumnElement[float]:
    """A time of the database's as a number."""
    return cast(extract("epoch", time), Float(53))


def _seen(study_id: int, within_seconds: float) -> tuple[ColumnElement[bool], ...]:
    age = seconds_since_1970(utc_now()) - seconds_since_1970(workers.c.seen)
    return workers.c.study_id == study_id, age <= within_seconds
