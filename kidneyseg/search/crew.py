"""Who works on a study now, as the table of workers tells it, by the database's clock."""

from typing import Any

from sqlalchemy import ColumnElement, Float, cast, extract, func, select

from kidneyseg.search.storage import Storage
from kidneyseg.search.tables import utc_now, workers

WATCHERS = 10  # workers of a study that look after the others: enough for any of them to die


def count_workers(storage: Storage, study_id: int, within_seconds: float) -> int:
    """How many workers were seen lately."""
    return int(
        storage.read(select(func.count()).where(*_seen(study_id, within_seconds))).scalar_one()
    )


def find_watchers(storage: Storage, study_id: int, within_seconds: float) -> set[str]:
    """Those of the workers seen lately who look after all trials: the first by name."""
    query = select(workers.c.worker).where(*_seen(study_id, within_seconds))
    return set(storage.read(query.order_by(workers.c.worker).limit(WATCHERS)).scalars())


def seconds_since_1970(time: Any) -> ColumnElement[float]:
    """A time of the database's as a number."""
    return cast(extract("epoch", time), Float(53))


def _seen(study_id: int, within_seconds: float) -> tuple[ColumnElement[bool], ...]:
    age = seconds_since_1970(utc_now()) - seconds_since_1970(workers.c.seen)
    return workers.c.study_id == study_id, age <= within_seconds
