"""Reading a study's status beside Optuna's own listing of its trials, at 5000 trials.

    python benchmarks/listing.py [--trials 5000] [--rounds 5] [--database sqlite postgres]

A study of so many trials is written into a new SQLite file, and into a new PostgreSQL database
where this machine has its programs. Then, in turn, round after round:

    status      `read_status`: all that `kidneyseg-search status` shows, one query
    trials      `study.get_trials()` on a storage that has read nothing yet, as a new process has
    summaries   `optuna.get_all_study_summaries()`: no trials, but their number and the best one

Wall time is told with processor time, and a ratio is that of medians over the rounds.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import insert, select

from kidneyseg.search.status import read_status
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.tables import epochs, trials

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.databases import KINDS, databases, kinds_here

STUDY = "listing"
N_EPOCHS = 10
N_RUNNING = 16
RUNNING, PRUNED, COMPLETE = TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE
Seconds = tuple[float, float]  # wall, processor


def fill(storage: Storage, n_trials: int) -> None:
    """Write a study: a quarter pruned half-way, the last few running."""
    study = optuna.create_study(storage=storage.optuna, study_name=STUDY, direction="maximize")
    for number in range(n_trials):
        study.add_trial(draw_trial(number, is_running=number >= n_trials - N_RUNNING))
    write_epochs(storage)


def draw_trial(number: int, *, is_running: bool) -> FrozenTrial:
    """A trial with three hyper-parameters, an attribute and a rising curve."""
    dice = random.Random(number)
    is_pruned = number % 4 == 3
    value = dice.random()
    n_epochs = N_EPOCHS // 2 if is_pruned else N_EPOCHS
    drawn = {"learning_rate": dice.random(), "beta": dice.random(), "batch_size": dice.random()}
    return create_trial(
        state=RUNNING if is_running else PRUNED if is_pruned else COMPLETE,
        value=None if is_pruned or is_running else value,
        params=drawn,
        distributions=dict.fromkeys(drawn, FloatDistribution(0, 1)),
        user_attrs={"best epoch": n_epochs},
        intermediate_values={epoch: value * epoch for epoch in range(1, n_epochs + 1)},
    )


def write_epochs(storage: Storage) -> None:
    """Give every trial the metrics of ten epochs."""
    names = [column.name for column in epochs.c if column.name not in ("trial_id", "epoch")]
    metrics = dict.fromkeys(names, 1)
    rows = [
        {"trial_id": trial_id, "epoch": epoch, **metrics}
        for trial_id in storage.read(select(trials.c.trial_id)).scalars()
        for epoch in range(1, N_EPOCHS + 1)
    ]
    with storage.engine.begin() as connection:
        connection.execute(insert(epochs), rows)


def list_trials(address: str) -> Seconds:
    storage = open_storage(address)
    study = optuna.load_study(study_name=STUDY, storage=storage.optuna)
    return measured(storage, lambda: study.get_trials(deepcopy=False))


def list_summaries(address: str) -> Seconds:
    storage = open_storage(address)
    return measured(storage, lambda: optuna.get_all_study_summaries(storage.optuna))


def list_status(address: str) -> Seconds:
    storage = open_storage(address)
    return measured(storage, lambda: read_status(storage, STUDY))


def measured(storage: Storage, call: Callable[[], object]) -> Seconds:
    wall, processor = time.perf_counter(), time.process_time()
    call()
    spent = time.perf_counter() - wall, time.process_time() - processor
    storage.engine.dispose()
    return spent


def compare(name: str, address: str, arguments: argparse.Namespace) -> None:
    """Fill a database, measure in turn, print a line for each way."""
    storage = open_storage(address)
    fill(storage, arguments.trials)
    ways = {"status": list_status, "trials": list_trials, "summaries": list_summaries}
    rounds = [{way: run(address) for way, run in ways.items()} for _ in range(arguments.rounds)]
    medians = {way: median([each[way] for each in rounds]) for way in ways}
    for way, (wall, processor) in medians.items():
        times = wall / medians["status"][0]
        print(
            f"{name:<10} {arguments.trials} trials  {way:<9} {1000 * wall:8.1f} ms  "
            f"({1000 * processor:8.1f} ms of this processor)  {times:6.1f} times status"
        )
    storage.engine.dispose()


def median(spent: Sequence[Seconds]) -> Seconds:
    return statistics.median(each[0] for each in spent), statistics.median(e[1] for e in spent)


def main() -> None:
    """Measure on every database there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database", nargs="+", choices=KINDS, default=kinds_here())
    arguments = parser.parse_args()
    for kind in arguments.database:
        with databases(kind) as made:
            compare(made.name, made.new(), arguments)


if __name__ == "__main__":
    main()
