"""Who trains a running trial, and whether they still do.

A worker's counter in the database goes up while it lives. Whoever watches takes a worker for dead
when it saw the counter unchanged for the grace period on its own clock, every look successful; or
at once, when the worker ran on the same machine and its process is gone.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from kidneyseg.search.budget import STATE, State, read_in_hand
from kidneyseg.search.crew import find_watchers
from kidneyseg.search.hand_back import put_in_line, reap_trial
from kidneyseg.search.identity import WorkerIdentity
from kidneyseg.search.orders import Order, read_order
from kidneyseg.search.studies import Study
from kidneyseg.search.tables import leases, trials, utc_now, workers

GRACE_SECONDS = 120.0
BEATS_IN_GRACE = 8
LONGEST_BEAT_SECONDS = 15.0
COPY_SECONDS = 10.0  # that a trial may be handed back and not in line again
GAP = 0.5  # of the grace period: who looked away for longer begins to watch anew


class Heart:
    """The sign of life of one worker: renewed from a thread while the block lasts.

    The same thread hears whether running trials shall stop. In the first few workers of a study it
    hands back the trials of those that are dead; every worker does that before it takes a new one.
    """

    def __init__(
        self, study: Study, device: str, place: int = 0, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._study = study
        self._device = device
        self._worker = str(WorkerIdentity.mine(place))
        self._trial_id: int | None = None
        self._stop = threading.Event()
        self._stop_now = threading.Event()
        self._grace_seconds = grace_seconds
        self._watcher = Watcher(study, grace_seconds)
        self._beat_seconds = min(grace_seconds / BEATS_IN_GRACE, LONGEST_BEAT_SECONDS)
        self._thread = threading.Thread(target=self._keep_beating, name="heart", daemon=True)

    @property
    def shall_stop_now(self) -> bool:
        """Whether somebody asked for running trials to be handed back."""
        return self._stop_now.is_set()

    def __enter__(self) -> Self:
        row = {"study_id": self._study.id, "worker": self._worker, "device": self._device}
        self._study.storage.change(
            delete(workers).where(*self._mine()),
            insert(workers).values(since=utc_now(), seen=utc_now(), **row),
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        try:
            with self._study.storage.engine.begin() as connection:
                connection.execute(delete(workers).where(*self._mine()))
        except SQLAlchemyError:
            return  # it counts as gone soon

    @contextmanager
    def lease(self, trial_id: int) -> Iterator[None]:
        """Hold a trial while the block lasts."""
        row = insert(leases).values(trial_id=trial_id, worker=self._worker, beat=0)
        self._study.storage.change(delete(leases).where(leases.c.trial_id == trial_id), row)
        self._trial_id = trial_id
        try:
            yield
        finally:
            self._trial_id = None

    def beat(self) -> None:
        """Show a sign of life, hear what is asked, and, as a watcher, look after all trials."""
        self._renew()
        self.hear()
        if self._worker in self._watchers():
            self._watcher.reap()

    def hear(self) -> Order:
        """What is asked of the study now."""
        order = read_order(self._study.storage, self._study.id)
        if order.stop_now:
            self._stop_now.set()
        else:
            self._stop_now.clear()
        return order

    def reap(self) -> list[int]:
        """Hand back the trials of dead workers now; return their numbers."""
        return self._watcher.reap()

    def _mine(self) -> tuple[Any, Any]:
        return workers.c.study_id == self._study.id, workers.c.worker == self._worker

    def _keep_beating(self) -> None:
        while not self._stop.wait(self._beat_seconds):
            try:
                self.beat()
            except Exception:  # noqa: BLE001, S112 - a heart that stops is a worker taken for dead
                continue  # the next beat may pass; watchers wait for the grace period

    def _watchers(self) -> set[str]:
        """Who has not been seen for half the grace period is replaced; more than ten do no harm."""
        return find_watchers(self._study.storage, self._study.id, GAP * self._grace_seconds)

    def _renew(self) -> None:
        beat = update(leases).where(leases.c.trial_id == self._trial_id)
        with self._study.storage.engine.begin() as connection:
            connection.execute(update(workers).where(*self._mine()).values(seen=utc_now()))
            connection.execute(beat.values(beat=leases.c.beat + 1))


class Watcher:
    """Looks at the running trials of a study and hands back those whose worker is dead.

    Who could not look for half the grace period, because the database was away or the machine
    asleep, has seen nothing of it: the others may have stood still for the same reason.
    """

    def __init__(self, study: Study, grace_seconds: float = GRACE_SECONDS) -> None:
        self._study = study
        self._grace_seconds = grace_seconds
        self._seen: dict[int, tuple[int | None, float]] = {}  # trial id: beat, since when
        self._looked = time.monotonic()  # last
        self._in_hand: dict[int, float] = {}  # number of a trial without a copy: since when
        self._looking = threading.Lock()

    def reap(self) -> list[int]:
        """Hand back the trials of dead workers; return their numbers."""
        with self._looking:
            self._mend_hand_backs()
            running = self._running()
            now = time.monotonic()  # of this look: whoever stands still from here on sees no more
            self._forget_after_gap(now)
            dead = [row for row in running if self._is_dead(row, now)]
            self._seen = {row.trial_id: self._seen[row.trial_id] for row in running}
            return [row.number for row in dead if self._reap(row.trial_id, now)]

    def _reap(self, trial_id: int, looked: float) -> bool:
        """Hand a dead worker's trial back, unless the look is old by now."""
        if time.monotonic() - looked > GAP * self._grace_seconds:
            return False
        return reap_trial(self._study, trial_id)

    def _mend_hand_backs(self) -> None:
        """Put copies in line that are missing for longer than their making takes."""
        now = time.monotonic()
        missing = read_in_hand(self._study.storage, self._study.id)
        self._in_hand = {number: self._in_hand.get(number, now) for number in missing}
        for number, since in self._in_hand.items():
            if now - since > COPY_SECONDS:
                put_in_line(self._study, number)

    def _running(self) -> list[Row[Any]]:
        query = (
            select(trials.c.trial_id, trials.c.number, leases.c.worker, leases.c.beat)
            .outerjoin(leases, trials.c.trial_id == leases.c.trial_id)
            .where(trials.c.study_id == self._study.id, STATE == State.RUNNING)
        )
        return list(self._study.storage.read(query))

    def _forget_after_gap(self, now: float) -> None:
        if now - self._looked > GAP * self._grace_seconds:
            self._seen.clear()
        self._looked = now

    def _is_dead(self, row: Row[Any], now: float) -> bool:
        last_beat, since = self._seen.get(row.trial_id, (None, now))
        if row.trial_id not in self._seen or row.beat != last_beat:
            since = now
        self._seen[row.trial_id] = (row.beat, since)
        identity = WorkerIdentity.parse(row.worker or "")
        if identity is not None and identity.is_gone():
            return True
        return now - since > self._grace_seconds
