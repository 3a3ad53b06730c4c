"""What the database costs: ours beside plain Optuna, in the same run.

    python benchmarks/storage.py                      # SQLite, and PostgreSQL where there is one
    python benchmarks/storage.py --database postgres --trials 1000 5000 --workers 1 64
    python benchmarks/storage.py --capacity           # how many workers one PostgreSQL carries

A trial is: ask, draw two hyper-parameters, ten epochs with report and pruning decision, tell. Ours
also keeps a lease, checks the budget, and stores the losses of every epoch. Each way has a copy of
its own of the same filled database. Processor time is what counts on a machine that is shared: of
the worker processes, and of the server's. A worker reads the study once, which is shared by its
trials: two of them with 64 workers, 32 with one.
"""

import argparse
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna

from kidneyseg.search.budget import read_ledger
from kidneyseg.search.leases import Heart
from kidneyseg.search.objective import report_epoch
from kidneyseg.search.storage import open_storage
from kidneyseg.search.studies import load_study

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.capacity import print_capacity
from benchmarks.databases import KINDS, Databases, databases, kinds_here
from benchmarks.filled_study import EPOCHS, begin, epoch_report, fill

Trials = Callable[[str, int], None]
Counts = tuple[float, float, float]  # seconds: worker processor, server processor, wall


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


def measure(trials: Trials, address: str, n_workers: int, made: Databases) -> Counts:
    """What one trial costs, in seconds, with so many workers at once."""
    context = multiprocessing.get_context("fork")
    each = max(2, 32 // n_workers)
    spent = context.Queue()
    before = made.server_seconds()
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
    return worker_seconds / n, (made.server_seconds() - before) / n, wall / n


def _run(trials: Trials, address: str, n_trials: int, spent: Any) -> None:
    start = time.process_time()
    try:
        trials(address, n_trials)
    except Exception as error:  # noqa: BLE001 - plain Optuna on SQLite: "database is locked"
        sys.stderr.write(f"{str(error).splitlines()[0]}\n")
        spent.put(float("nan"))
    else:
        spent.put(time.process_time() - start)


def compare(made: Databases, n_trials: int, n_workers: list[int]) -> Iterator[str]:
    """Fill a database once; give a line for each number of workers."""
    storage = open_storage(made.new())
    address = storage.engine.url.render_as_string(hide_password=False)
    fill(begin(storage), n_trials)
    storage.engine.dispose()
    for n in n_workers:
        plain = measure(plain_trials, made.copy(address), n, made)
        ours = measure(our_trials, made.copy(address), n, made)
        ratio = sum(plain[:2]) / sum(ours[:2])
        yield f"{made.name:11}{n_trials:7}{n:8}  {_cell(plain)}  {_cell(ours)}  {ratio:5.1f}x"


def main() -> None:
    """Print what a trial costs, for each database."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", nargs="+", choices=KINDS, default=kinds_here())
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--capacity", action="store_true")
    parser.add_argument("--running", type=int, nargs="+", default=[100, 300, 1000, 3000])
    arguments = parser.parse_args()
    if arguments.capacity:
        with databases("postgres") as made:
            print_capacity(made, arguments.running)
        return
    print("ms of processor time per trial: workers + server; wall in ()")
    print("database    trials workers            plain             ours  ratio")
    for kind in arguments.database:
        with databases(kind) as made:
            for n_trials in arguments.trials:
                for line in compare(made, n_trials, arguments.workers):
                    print(line, flush=True)


def _cell(counts: Counts) -> str:
    worker, server, wall = (1000 * seconds for seconds in counts)
    if math.isnan(worker):
        return f"{'failed':>18} "
    return f"{worker:6.0f} +{server:4.0f} ({wall:5.0f})"


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main()
