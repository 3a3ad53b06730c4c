"""Who trains a running trial, whether they still do, and giving a trial back.

A worker's counter in the database goes up while it lives. Whoever watches takes a worker for dead
when it saw the counter unchanged for the grace period on its own clock, every look successful; or
at once, when the worker ran on the same machine and its process is gone.
"""

import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from kidneyseg.provenance import host_name
from kidneyseg.search.lineage import LINEAGE, lineage
from kidneyseg.search.samplers import FIXED, start_point
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import Study
from kidneyseg.search.tables import leases

BEAT_SECONDS = 15.0
GRACE_SECONDS = 120.0
MAX_ATTEMPTS = 3  # of a trial whose worker died; a hand-back does not count

OUTCOME = "outcome"  # trial attribute: why a trial failed, for people
ATTEMPT = "attempt"  # trial attribute: how often workers died on these hyper-parameters, plus 1
HANDED_BACK = "handed back: another trial takes its hyper-parameters"
SURPLUS = "surplus: the budget was reached before it began"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """A worker process, told apart from every other on any machine and in any container."""

    host: str
    machine: str  # boot and process namespace: where a process number means something
    pid: int
    started: float  # when the process started: ticks since boot, where the system tells them

    def __str__(self) -> str:
        return f"{self.host} {self.machine} {self.pid} {self.started:.2f}"

    @classmethod
    def parse(cls, text: str) -> "WorkerIdentity | None":
        """Read what `str` wrote; None for anything else."""
        try:
            host, machine, pid, started = text.split(" ")
            return cls(host=host, machine=machine, pid=int(pid), started=float(started))
        except ValueError:
            return None

    @classmethod
    def mine(cls) -> "WorkerIdentity":
        """Identify the process that asks."""
        process = psutil.Process()
        return cls(
            host=host_name(),
            machine=machine_identity(),
            pid=process.pid,
            started=_started(process),
        )

    def is_gone(self) -> bool:
        """Whether the process ran here and runs no more. False where that cannot be known."""
        if self.machine != machine_identity() or self.host != host_name():
            return False
        try:
            process = psutil.Process(self.pid)
            alive = process.status() != psutil.STATUS_ZOMBIE
            return not alive or _started(process) != self.started
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


class Lease:
    """The hold of this worker on one trial, renewed from a thread while the block lasts."""

    def __init__(self, storage: Storage, trial_id: int) -> None:
        self._storage = storage
        self._trial_id = trial_id
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> Self:
        row = insert(leases).values(
            trial_id=self._trial_id, worker=str(WorkerIdentity.mine()), beat=0
        )
        with self._storage.engine.begin() as connection:
            connection.execute(delete(leases).where(leases.c.trial_id == self._trial_id))
            connection.execute(row)
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

    def _renew(self) -> None:
        beat = (
            update(leases).where(leases.c.trial_id == self._trial_id).values(beat=leases.c.beat + 1)
        )
        while not self._stop.wait(BEAT_SECONDS):
            try:
                with self._storage.engine.begin() as connection:
                    connection.execute(beat)
            except SQLAlchemyError:
                continue  # the next beat may pass; watchers wait for the grace period


class Watcher:
    """Looks at the running trials of a study and hands back those whose worker is dead."""

    def __init__(self, study: Study, grace_seconds: float = GRACE_SECONDS) -> None:
        self._study = study
        self._grace_seconds = grace_seconds
        self._seen: dict[int, tuple[int | None, float]] = {}  # trial id: beat, since when

    def reap(self) -> list[int]:
        """Hand back the trials of dead workers; return their numbers."""
        states = (TrialState.RUNNING,)
        running = self._study.optuna.get_trials(deepcopy=False, states=states)
        rows = self._read_leases([trial._trial_id for trial in running])
        dead = [trial for trial in running if self._is_dead(trial, rows.get(trial._trial_id))]
        self._seen = {t._trial_id: self._seen[t._trial_id] for t in running}
        return [trial.number for trial in dead if reap_trial(self._study, trial)]

    def _read_leases(self, trial_ids: list[int]) -> dict[int, tuple[str, int]]:
        query = select(leases).where(leases.c.trial_id.in_(trial_ids))
        with self._study.storage.engine.connect() as connection:
            return {row.trial_id: (row.worker, row.beat) for row in connection.execute(query)}

    def _is_dead(self, trial: FrozenTrial, lease: tuple[str, int] | None) -> bool:
        worker, beat = lease if lease is not None else ("", None)
        now = time.monotonic()
        last_beat, since = self._seen.get(trial._trial_id, (None, now))
        if trial._trial_id not in self._seen or beat != last_beat:
            since = now
        self._seen[trial._trial_id] = (beat, since)
        identity = WorkerIdentity.parse(worker)
        if identity is not None and identity.is_gone():
            return True
        return now - since > self._grace_seconds


def hand_back(study: Study, trial: FrozenTrial) -> bool:
    """End a running trial and put its hyper-parameters first in line, at the same attempt."""
    return _end_and_requeue(study, trial, HANDED_BACK, trial.user_attrs.get(ATTEMPT, 1))


def reap_trial(study: Study, trial: FrozenTrial) -> bool:
    """End a dead worker's trial; its hyper-parameters are tried again, at most three times in all.

    False when another worker did it first.
    """
    attempt = trial.user_attrs.get(ATTEMPT, 1)
    if attempt >= MAX_ATTEMPTS:
        return end_trial(study, trial, f"failed: its worker died, {attempt} times")
    return _end_and_requeue(study, trial, "handed back: its worker died", attempt + 1)


def end_trial(study: Study, trial: FrozenTrial, outcome: str) -> bool:
    """End a trial as failed, with the reason for people. False when it is finished already."""
    storage = study.storage.optuna
    try:
        storage.set_trial_user_attr(trial._trial_id, OUTCOME, outcome)
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False
    return True


def _started(process: psutil.Process) -> float:
    """When a process started, by a clock that nobody sets."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return float(fields[19])
    except OSError:
        return round(process.create_time())


def machine_identity() -> str:
    """Names the boot and the process namespace of this machine, where the system tells them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{uuid.getnode():x}:{psutil.boot_time():.0f}"


def _end_and_requeue(study: Study, trial: FrozenTrial, outcome: str, attempt: int) -> bool:
    if not end_trial(study, trial, outcome):
        return False
    point = start_point(study.definition, study.optuna, trial)
    params = {**point, **trial.system_attrs.get(FIXED, {}), **trial.params}
    if params:
        kept = {ATTEMPT: attempt, LINEAGE: [*lineage(trial), trial.number]}
        study.optuna.enqueue_trial(params, user_attrs=kept)
    return True
