"""Who works on a study, told by the database's clock in whatever time zone a session is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna
import pytest
from sqlalchemy import event, insert

from kidneyseg.search.crew import WATCHERS, count_workers, find_watchers
from kidneyseg.search.identity import WorkerIdentity
from kidneyseg.search.leases import Heart
from kidneyseg.search.status import read_status
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import Study
from kidneyseg.search.tables import workers


def join(storage: Storage, study_id: int, worker: str, seen_seconds_ago: float) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    seen = now - timedelta(seconds=seen_seconds_ago)
    row = {"study_id": study_id, "worker": worker, "device": "cpu", "since": seen, "seen": seen}
    storage.change(insert(workers).values(row))


def test_workers_seen_lately_are_counted_and_the_first_watch(either_storage: Storage) -> None:
    study, other = (optuna.create_study(storage=either_storage.optuna) for _ in range(2))
    for number in range(WATCHERS + 5):
        join(either_storage, study._study_id, f"worker {number:02d}", seen_seconds_ago=20)
    join(either_storage, study._study_id, "worker 00, before", seen_seconds_ago=900)
    join(either_storage, other._study_id, "of another study", seen_seconds_ago=0)
    assert count_workers(either_storage, study._study_id, 60) == WATCHERS + 5
    watchers = find_watchers(either_storage, study._study_id, 60)
    assert watchers == {f"worker {number:02d}" for number in range(WATCHERS)}


def test_watchers_are_of_as_many_processes_as_there_are(either_storage: Storage) -> None:
    """So that one that dies with all its workers does not take every watcher along."""
    study = optuna.create_study(storage=either_storage.optuna)
    of_a, of_b = (
        [str(replace(WorkerIdentity.mine(place), host=host)) for place in range(WATCHERS + 2)]
        for host in ("a", "b")
    )
    for name in (*of_a, *of_b):
        join(either_storage, study._study_id, name, seen_seconds_ago=20)
    watchers = find_watchers(either_storage, study._study_id, 60)
    assert len(watchers) == WATCHERS
    assert of_b[0] in watchers
    for pid in range(WATCHERS):
        name = str(replace(WorkerIdentity.mine(), host="c", pid=pid))
        join(either_storage, study._study_id, name, seen_seconds_ago=20)
    watchers = find_watchers(either_storage, study._study_id, 60)
    assert {name.split(" ")[-1] for name in watchers} == {"0"}


@pytest.mark.parametrize("zone", ["America/Lima", "Asia/Tokyo"])
def test_a_session_in_another_time_zone_sees_and_is_seen(either_study: Study, zone: str) -> None:
    """As behind a pooler that ignores what a client asks for."""
    storage = either_study.storage
    storage.engine.dispose()

    @event.listens_for(storage.engine, "connect")
    def elsewhere(connection: Any, _record: object) -> None:
        if not storage.is_sqlite:  # which knows no time zones
            connection.execute(f"SET TIME ZONE '{zone}'")
            connection.commit()

    with Heart(either_study, "cpu"):
        (worker,) = read_status(storage, either_study.name).workers
        assert worker.alive
        assert count_workers(storage, either_study.id, 60) == 1
