"""What the database costs: ours beside plain Optuna, in the same run.

    python benchmarks/storage.py                      # SQLite, and PostgreSQL where there is one
    python benchmarks/storage.py --capacity           # how many workers one PostgreSQL carries

A trial is: ask, draw two hyper-parameters, ten epochs with report and pruning decision, tell. Ours
also keeps a lease, checks the budget, and stores the losses of every epoch. Processor time is what
counts on a machine that is shared: of the worker processes, and of the server's.
"""

import argparse
import json
import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import psutil
import psycopg
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb import models
from sqlalchemy import insert, make_url, text

from kidneyseg.environment_files import load_environment
from kidneyseg.search.budget import read_ledger
from kidneyseg.search.definition import StudyFile, StudyPlan
from kidneyseg.search.leases import Heart
from kidneyseg.search.objective import report_epoch
from kidneyseg.search.space import parse_space
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.studies import Study, load_study, open_study
from kidneyseg.search.trial_order import EpochReport

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.postgres_server import PostgresServer, postgres_programs

EPOCHS = 10
SPACE = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "beta": {"type": "float", "low": 0.05, "high": 5.0, "log": True},
}
Counts = tuple[float, float, float]  # seconds: worker processor, server processor, wall


def begin(storage: Storage) -> Study:
    """An empty study with the shipped samplers and pruners."""
    plan = StudyPlan(
        name="storage",
        file=StudyFile.model_validate({"search_space": "storage"}),
        space=parse_space(SPACE, "the benchmark"),
        fixed={},
        start_points=(),
    )
    definition = plan.definition(load_environment("local", {}), "data", "split")
    study = open_study(storage, "storage", definition)
    study.ask_for(10**6)
    return study


def fill(study: Study, n_trials: int, *, running: int = 0) -> None:
    """Put finished and running trials into the database, ten reports each, by plain SQL."""
    engine = study.storage.engine
    total, first = n_trials + running, len(study.optuna.get_trials(deepcopy=False))
    states = ["COMPLETE"] * n_trials + ["RUNNING"] * running
    with engine.begin() as connection:
        rows = [
            {
                "number": first + i,
                "study_id": study.id,
                "state": states[i],
                "datetime_start": None,
                "datetime_complete": None,
            }
            for i in range(total)
        ]
        connection.execute(insert(models.TrialModel.__table__), rows)
        ids = connection.scalars(
            text("SELECT trial_id FROM trials WHERE study_id = :id AND number >= :n"),
            {"id": study.id, "n": first},
        ).all()
        reports = [
            {
                "trial_id": trial_id,
                "step": step,
                "intermediate_value": (trial_id * 7919 % 1000) / 1000 * step / EPOCHS,
                "intermediate_value_type": "FINITE",
            }
            for trial_id in ids
            for step in range(1, EPOCHS + 1)
        ]
        connection.execute(insert(models.TrialIntermediateValueModel.__table__), reports)
        params = [
            {
                "trial_id": trial_id,
                "param_name": name,
                "param_value": values["low"] * 1.5,
                "distribution_json": json.dumps(
                    {
                        "name": "FloatDistribution",
                        "attributes": {
                            "step": None,
                            "low": values["low"],
                            "high": values["high"],
                            "log": True,
                        },
                    }
                ),
            }
            for trial_id in ids
            for name, values in SPACE.items()
        ]
        connection.execute(insert(models.TrialParamModel.__table__), params)
        values = [
            {
                "trial_id": trial_id,
                "objective": 0,
                "value": (trial_id * 7919 % 1000) / 1000,
                "value_type": "FINITE",
            }
            for trial_id in list(ids)[:n_trials]
        ]
        connection.execute(insert(models.TrialValueModel.__table__), values)


def plain_trials(address: str, n_trials: int) -> None:
    """Trials as an Optuna user scripts them."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3)
    study = optuna.load_study(study_name="storage", storage=_plain(address), pruner=pruner)
    for _ in range(n_trials):
        trial = study.ask()
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
        trial.suggest_float("beta", 0.05, 5.0, log=True)
        for epoch in range(1, EPOCHS + 1):
            trial.report(rate * epoch, epoch)
            trial.should_prune()
        study.tell(trial, rate)


def our_trials(address: str, n_trials: int) -> None:
    """Trials as our workers run them, without the training."""
    storage = open_storage(address)
    study = load_study(storage, "storage")
    with Heart(study, "cpu", multiprocessing.current_process().pid or 0) as heart:
        for _ in range(n_trials):
            trial = study.optuna.ask()
            with heart.lease(trial._trial_id):  # noqa: SLF001 - as the worker does
                read_ledger(storage, study.id).may_train(trial.number, 10**6)
                study.definition.draw(trial)
                for epoch in range(1, EPOCHS + 1):
                    report_epoch(study, trial, epoch_report(epoch))
                    study.pruner.should_prune(trial._trial_id, epoch)  # noqa: SLF001
                study.optuna.tell(trial, 0.5)


def _plain(address: str) -> str:
    return address.replace("postgresql://", "postgresql+psycopg://")


def epoch_report(epoch: int) -> EpochReport:
    """What an epoch gives, made up."""
    return EpochReport(
        epoch=epoch,
        is_last=epoch == EPOCHS,
        dice=0.9 * epoch / EPOCHS,
        best_dice=0.9 * epoch / EPOCHS,
        training_losses=(1.0, 0.5, 0.5),
        validation_losses=(1.0, 0.5, 0.5),
        learning_rate=1e-3,
        seconds=1.0,
        memory_bytes=10**9,
        skipped_steps=0,
        small_batch_size=4,
        evaluation_batch_size=16,
    )


def measure(
    trials: Callable[[str, int], None], address: str, n_workers: int, server: int | None
) -> Counts:
    """What one trial costs, in seconds, with so many workers at once."""
    context = multiprocessing.get_context("fork")
    each = max(2, 32 // n_workers)
    spent = context.Queue()
    before = _server_seconds(server)
    start = time.perf_counter()
    processes = [
        context.Process(target=_run, args=(trials, address, each, spent)) for _ in range(n_workers)
    ]
    for process in processes:
        process.start()
    worker_seconds = sum(spent.get() for _ in processes)
    for process in processes:
        process.join()
    wall = time.perf_counter() - start
    n = each * n_workers
    return worker_seconds / n, (_server_seconds(server) - before) / n, wall / n


def _run(trials: Callable[[str, int], None], address: str, n_trials: int, spent: Any) -> None:
    start = time.process_time()
    try:
        trials(address, n_trials)
    except StorageInternalError:  # plain Optuna on SQLite: "database is locked"
        spent.put(float("nan"))
    else:
        spent.put(time.process_time() - start)


def _server_seconds(pid: int | None) -> float:
    """Processor time of a server and its connections, those that ended included."""
    if pid is None:
        return 0.0
    server = psutil.Process(pid)
    own = server.cpu_times()
    seconds = own.user + own.system + own.children_user + own.children_system
    for child in server.children():
        with suppress(psutil.NoSuchProcess):  # ended meanwhile: the next look counts it
            times = child.cpu_times()
            seconds += times.user + times.system
    return seconds


@contextmanager
def databases() -> Iterator[dict[str, tuple[Callable[[], str], int | None]]]:
    """How to make an empty database of each kind, and the process of its server."""
    with tempfile.TemporaryDirectory() as folder:
        count = iter(range(1000))
        made: dict[str, tuple[Callable[[], str], int | None]] = {
            "SQLite": (lambda: f"sqlite:///{folder}/{next(count)}.db", None)
        }
        programs = postgres_programs()
        if programs is None:
            yield made
            return
        data = Path(tempfile.mkdtemp(prefix="kidneyseg-postgres-"))
        server = PostgresServer(programs, data)
        server.start()

        def new() -> str:
            name = f"bench{next(count)}"
            with psycopg.connect(server.address, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
            url = make_url(server.address).set(database=name)
            return url.render_as_string(hide_password=False)

        made["PostgreSQL"] = (new, server.pid)
        try:
            yield made
        finally:
            server.stop()


def main() -> None:
    """Print what a trial costs, for both databases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--capacity", action="store_true")
    parser.add_argument("--running", type=int, nargs="+", default=[10, 100, 300, 1000])
    arguments = parser.parse_args()
    with databases() as made:
        if arguments.capacity:
            capacity(*made["PostgreSQL"], arguments.running)
            return
        print("ms of processor time per trial: workers + server; wall in ()")
        print("database    trials workers            plain             ours  ratio")
        for kind, (new, server) in made.items():
            for n_trials in arguments.trials:
                for n_workers in arguments.workers:
                    address = new()
                    storage = open_storage(address)
                    fill(begin(storage), n_trials)
                    storage.engine.dispose()
                    plain = measure(plain_trials, address, n_workers, server)
                    ours = measure(our_trials, address, n_workers, server)
                    ratio = sum(plain[:2]) / sum(ours[:2])
                    print(
                        f"{kind:11}{n_trials:7}{n_workers:8}  {_cell(plain)}  {_cell(ours)}"
                        f"  {ratio:5.1f}x",
                        flush=True,
                    )


def capacity(new: Callable[[], str], server: int | None, running: list[int]) -> None:
    """Print what an epoch costs a PostgreSQL server, and how many workers that makes."""
    print("running  server ms per epoch  workers at 30 s an epoch, for each core of the server")
    for n_running in running:
        address = new()
        storage = open_storage(address)
        study = begin(storage)
        fill(study, 1000, running=n_running)
        trial = study.optuna.ask()
        study.definition.draw(trial)
        before, n = _server_seconds(server), 100
        for epoch in range(1, n + 1):
            report_epoch(study, trial, epoch_report(epoch))
            study.pruner.should_prune(trial._trial_id, min(epoch, EPOCHS))  # noqa: SLF001
        each = (_server_seconds(server) - before) / n
        print(f"{n_running:7}  {each * 1000:19.2f}  {30 / each:12.0f}", flush=True)
        storage.engine.dispose()


def _cell(counts: Counts) -> str:
    worker, server, wall = (1000 * seconds for seconds in counts)
    if math.isnan(worker):
        return "database is locked "
    return f"{worker:6.0f} +{server:4.0f} ({wall:5.0f})"


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main()
