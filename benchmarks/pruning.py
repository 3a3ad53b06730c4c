# ruff: noqa: SLF001 - Optuna keeps the ids of trials and studies private
"""What one epoch's report and pruning decision cost: Optuna's median pruner beside ours.

    python benchmarks/pruning.py --running 1000 --finished 5000

Both decide on the same database, about trials of their own, and report in the same way; each of
Optuna's decisions is asked of ours too, and must be equal. SQLite in a new file, and PostgreSQL
where its programs are on this machine or `--postgres ADDRESS` names an empty database. Wall time is
the median of the rounds; processor time, this process's and the server's, their mean.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import psutil
from optuna import Study
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.storages._rdb import models
from sqlalchemy import Connection, insert, text

from kidneyseg.search.pruner_settings import (
    Hyperband,
    KeepAfter,
    Median,
    NoPruner,
    PrunerSettings,
    SuccessiveHalving,
)
from kidneyseg.search.pruners import Pruner, build_pruner
from kidneyseg.search.storage import Storage, open_storage

EPOCHS = 10
REPORTED = 4  # epochs of a running trial; the next one is measured
MEDIAN = Median(name="median")
STUDY = "benchmark"
OPTUNAS = "Optuna's median"
OURS: dict[str, PrunerSettings] = {  # at an epoch at which they decide
    "none": NoPruner(name="none"),
    "median": MEDIAN,
    "successive halving": SuccessiveHalving(
        name="successive_halving", min_epochs=REPORTED + 1, reduction_factor=3
    ),
    "Hyperband": Hyperband(
        name="hyperband", min_epochs=REPORTED + 1, max_epochs=10, reduction_factor=2
    ),
    "keep after an epoch": KeepAfter(name="keep_after", epoch=REPORTED + 1),
}


def insert_trials(connection: Connection, study_id: int, states: list[str]) -> None:
    """Put trials with parameters and reports into the database, without Optuna's interface."""
    random_ = random.Random(0)
    now = datetime.now(UTC).replace(tzinfo=None)
    n_reports = {"COMPLETE": EPOCHS, "PRUNED": REPORTED, "RUNNING": REPORTED}
    distribution = distribution_to_json(FloatDistribution(0, 1))
    levels = {trial_id: random_.random() for trial_id in range(1, len(states) + 1)}
    trials = [
        {
            "trial_id": trial_id,
            "number": trial_id - 1,
            "study_id": study_id,
            "state": state,
            "datetime_start": now,
            "datetime_complete": None if state == "RUNNING" else now,
        }
        for trial_id, state in enumerate(states, start=1)
    ]
    params = [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": random_.random(),
            "distribution_json": distribution,
        }
        for trial_id in levels
        for name in ("learning_rate", "beta", "dropout", "gamma")
    ]
    reports = [
        {
            "trial_id": trial_id,
            "step": epoch,
            "intermediate_value": levels[trial_id] * (1 - 0.5**epoch) + random_.gauss(0, 0.02),
            "intermediate_value_type": "FINITE",
        }
        for trial_id, state in enumerate(states, start=1)
        for epoch in range(1, n_reports[state] + 1)
    ]
    values = [
        {"trial_id": trial_id, "objective": 0, "value": level, "value_type": "FINITE"}
        for (trial_id, level), state in zip(levels.items(), states, strict=True)
        if state != "RUNNING"
    ]
    connection.execute(insert(models.TrialModel), trials)
    connection.execute(insert(models.TrialParamModel), params)
    connection.execute(insert(models.TrialIntermediateValueModel), reports)
    connection.execute(insert(models.TrialValueModel), values)


def fill(storage: Storage, n_running: int, n_finished: int) -> Study:
    """A study of finished trials, half of them pruned, followed by running ones."""
    study = optuna.create_study(storage=storage.optuna, study_name=STUDY, direction="maximize")
    finished = ["COMPLETE", "PRUNED"] * (n_finished // 2) + ["COMPLETE"] * (n_finished % 2)
    with storage.engine.begin() as connection:
        insert_trials(connection, study._study_id, finished + ["RUNNING"] * n_running)
    with storage.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")  # as PostgreSQL does by itself after a while
    study.get_trials(deepcopy=False)  # Optuna keeps the finished ones in memory
    return study


class Meter:
    """Milliseconds: those of a clock, and of processor time here and in the server's processes."""

    def __init__(self, storage: Storage) -> None:
        self._servers: list[psutil.Process] = []
        if not storage.is_sqlite and storage.engine.url.host == "127.0.0.1":
            pids = storage.read(text("SELECT pid FROM pg_stat_activity WHERE client_port > 0"))
            self._servers = [psutil.Process(pid) for pid in pids.scalars()]

    def read(self) -> tuple[float, float]:
        servers = [process.cpu_times() for process in self._servers]
        busy = time.process_time() + sum(times.user + times.system for times in servers)
        return 1000 * time.perf_counter(), 1000 * busy


class Cost(NamedTuple):
    """Milliseconds of an epoch's report and decision."""

    wall: float  # median over the rounds
    processor: float  # mean over the rounds: a server's is counted in steps of 10 ms


def measure_rounds(meter: Meter, rounds: Iterable[Callable[[], Any]]) -> Cost:
    """The cost of a round; the first one, which fills caches, is not counted."""
    walls, processor = [], []
    for call in rounds:
        start_wall, start_processor = meter.read()
        call()
        wall, busy = meter.read()
        walls.append(wall - start_wall)
        processor.append(busy - start_processor)
    return Cost(statistics.median(walls[1:]), statistics.mean(processor[1:]))


def dice_of(trial_id: int) -> float:
    return random.Random(trial_id).random()


def our_rounds(
    storage: Storage, study: Study, settings: PrunerSettings, ids: range
) -> Iterator[Callable[[], bool]]:
    """Report and decide; nothing is kept from one decision to the next."""

    def epoch(trial: optuna.Trial) -> bool:
        trial.report(dice_of(trial._trial_id), REPORTED + 1)
        return build(storage, study, settings).should_prune(trial._trial_id, REPORTED + 1)

    return (partial(epoch, optuna.Trial(study, trial_id)) for trial_id in ids)


def optunas_rounds(storage: Storage, study: Study, ids: range) -> Iterator[Callable[[], bool]]:
    """The same with Optuna's median pruner, whose decisions must be ours."""
    study.pruner = build_pruner(MEDIAN)

    def epoch(trial: optuna.Trial) -> bool:
        trial.report(dice_of(trial._trial_id), REPORTED + 1)
        return trial.should_prune()

    for trial_id in ids:
        trial = optuna.Trial(study, trial_id)
        yield partial(epoch, trial)
        ours = build(storage, study, MEDIAN).should_prune(trial_id, REPORTED + 1)
        if ours != trial.should_prune():
            raise SystemExit(f"trial {trial.number}: decided otherwise than Optuna")


def build(storage: Storage, study: Study, settings: PrunerSettings) -> Pruner:
    return Pruner(settings=settings, storage=storage, study_id=study._study_id, study_name=STUDY)


def measure(storage: Storage, n_running: int, n_finished: int, rounds: int) -> None:
    """Fill the database, print a table of what one epoch costs."""
    study = fill(storage, n_running, n_finished)
    meter = Meter(storage)
    first = n_finished + 1
    costs = {}
    for name, settings in OURS.items():
        ids = range(first, first := first + rounds + 1)
        costs[name] = measure_rounds(meter, our_rounds(storage, study, settings, ids))
    ids = range(first, first + rounds // 3 + 1)
    costs[OPTUNAS] = measure_rounds(meter, optunas_rounds(storage, study, ids))
    print(storage.engine.dialect.name)
    theirs = costs[OPTUNAS]
    for name, cost in costs.items():
        ratios = theirs.wall / cost.wall, theirs.processor / cost.processor
        print(f"{name:>22} {cost.wall:10.1f} {ratios[0]:7.1f}", end="")
        print(f" {cost.processor:10.1f} {ratios[1]:7.1f}")


@contextmanager
def postgres_address(given: str | None) -> Iterator[str | None]:
    """The address of a server: the one given, or one of this machine's own programs, or none."""
    if given:
        yield given
        return
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.postgres_server import new_server, postgres_programs  # noqa: PLC0415

    if postgres_programs() is None:
        yield None
        return
    with new_server() as server:
        yield server.address


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--running", type=int, default=1000)
    parser.add_argument("--finished", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--postgres", help="address of an empty database")
    arguments = parser.parse_args()
    sizes = (arguments.running, arguments.finished, arguments.rounds)
    print(f"{sizes[0]} running, {sizes[1]} finished trials; report and decision of one epoch")
    print(f"{'':>22} {'wall, ms':>10} {'x less':>7} {'CPU, ms':>10} {'x less':>7}")
    with tempfile.TemporaryDirectory() as folder:
        measure(open_storage(f"sqlite:///{folder}/studies.db"), *sizes)
    with postgres_address(arguments.postgres) as address:
        if address is None:
            print("no PostgreSQL on this machine, and no --postgres: not measured")
        else:
            storage = open_storage(address)
            measure(storage, *sizes)
            storage.engine.dispose()


if __name__ == "__main__":
    main()
