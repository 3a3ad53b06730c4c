"""How many workers one PostgreSQL server carries before its processor is the limit.

Simulated workers, one for each running trial, report epochs and show signs of life as real ones do:
each renews its rows, hears what is asked, and learns whether it is a watcher. What the watchers do
besides is measured apart, because there are ten of them, however many workers there are.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from sqlalchemy import insert

from benchmarks.databases import Databases
from benchmarks.filled_study import EPOCHS, begin, epoch_report, fill
from kidneyseg.search.crew import WATCHERS, find_watchers
from kidneyseg.search.identity import WorkerIdentity
from kidneyseg.search.leases import GAP, GRACE_SECONDS, LONGEST_BEAT_SECONDS, Heart
from kidneyseg.search.objective import report_epoch
from kidneyseg.search.storage import open_storage
from kidneyseg.search.studies import Study
from kidneyseg.search.tables import utc_now, workers

N_FINISHED = 1000  # trials of the study
N_SAMPLES = 100  # of each thing that is measured
EPOCH_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSeconds:
    """What one of each costs a server, in seconds of its processor."""

    epoch: float
    beat: float  # a sign of life
    look: float  # of a watcher at the study

    def n_workers(self) -> float:
        """Workers that keep one core of the server busy."""
        beats = EPOCH_SECONDS / LONGEST_BEAT_SECONDS  # in the time of an epoch
        left = EPOCH_SECONDS - WATCHERS * beats * self.look
        return left / (self.epoch + beats * self.beat)


def print_capacity(made: Databases, running: Sequence[int]) -> None:
    """Print what workers cost a PostgreSQL server, for each number of running trials."""
    print("ms of the server's processor")
    print("running  an epoch  a sign of life  a watcher's look  workers for each core at 30 s")
    for n_running in running:
        spent = measure(made, n_running)
        print(
            f"{n_running:7}  {spent.epoch * 1000:8.2f}  {spent.beat * 1000:14.2f}"
            f"  {spent.look * 1000:16.2f}  {spent.n_workers():29.0f}",
            flush=True,
        )


def measure(made: Databases, n_running: int) -> ServerSeconds:
    """Let simulated workers do a hundred of each; at least as many as there are watchers."""
    storage = open_storage(made.new())
    study = begin(storage)
    trial_ids = fill(study, N_FINISHED, running=n_running)
    leased = ExitStack()
    hearts = _join(study, trial_ids, leased)
    watching = find_watchers(storage, study.id, GAP * GRACE_SECONDS)
    watchers = [heart for name, heart in hearts.items() if name in watching]
    others = [heart for name, heart in hearts.items() if name not in watching] or watchers
    trial = study.optuna.ask()
    study.definition.draw(trial)

    def epoch(number: int) -> None:
        report_epoch(study, trial, epoch_report(number))
        study.pruner.should_prune(trial._trial_id, min(number, EPOCHS))  # noqa: SLF001

    def beat(number: int) -> None:
        others[number % len(others)].beat()

    def look(number: int) -> None:
        watchers[number % len(watchers)].reap()

    spent = ServerSeconds(epoch=_each(made, epoch), beat=_each(made, beat), look=_each(made, look))
    leased.close()
    storage.engine.dispose()
    return spent


def _join(study: Study, trial_ids: Sequence[int], leased: ExitStack) -> dict[str, Heart]:
    """A worker, seen just now, for each trial, each on a machine of its own; hearts by name."""
    mine = WorkerIdentity.mine()
    names = [str(replace(mine, host=f"node{number}")) for number in range(len(trial_ids))]
    hearts = {name: Heart(study, "cpu") for name in names}
    for (name, heart), trial_id in zip(hearts.items(), trial_ids, strict=True):
        heart._worker = name  # noqa: SLF001 - as on another machine
        leased.enter_context(heart.lease(trial_id))
    with study.storage.engine.begin() as connection:
        connection.execute(
            insert(workers).values(since=utc_now(), seen=utc_now()),
            [{"study_id": study.id, "worker": name, "device": "cpu"} for name in names],
        )
    return hearts


def _each(made: Databases, act: Callable[[int], None]) -> float:
    """What a server spends on each of a hundred."""
    before = made.server_seconds()
    for number in range(1, N_SAMPLES + 1):
        act(number)
    return (made.server_seconds() - before) / N_SAMPLES
