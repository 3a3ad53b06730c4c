# ruff: noqa: SLF001 - Optuna keeps the ids of studies private
"""Epochs spent and Dice lost by each pruner, on recorded curves of real trainings on phantoms.

    python benchmarks/pruners.py --repetitions 12

The curves of `benchmarks/phantom_curves.json` (`benchmarks/record_curves.py` made them) are trials
of studies: each study three quarters of them in random order, handed to one or to eight workers,
whose epochs take equally long. Each pruner sees the same studies and decides on a SQLite file.
Epochs: the share of those that the trainings run without pruning. Dice lost: the best Dice of the
study's curves less that of the best trial that ran to its end; `most` is the worst study's, `found`
the share of studies that lost nothing.
"""

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import optuna
from optuna.trial import TrialState

from kidneyseg.search.pruner_settings import (
    Hyperband,
    KeepAfter,
    Median,
    NoPruner,
    Percentile,
    PrunerSettings,
    SuccessiveHalving,
    Threshold,
)
from kidneyseg.search.pruners import Pruner
from kidneyseg.search.storage import Storage, open_storage

Curve = Sequence[float]  # Dice of each epoch

CURVES = Path(__file__).with_name("phantom_curves.json")
MAX_EPOCHS = 8
PRUNERS: dict[str, PrunerSettings] = {
    "none": NoPruner(name="none"),
    "median, warm-up 1": Median(name="median", n_warmup_epochs=1),
    "median, warm-up 2 (default)": Median(name="median"),
    "median, warm-up 3": Median(name="median", n_warmup_epochs=3),
    "percentile 25, warm-up 2": Percentile(name="percentile", percentile=25),
    "successive halving 1, x3": SuccessiveHalving(name="successive_halving"),
    "successive halving 2, x2": SuccessiveHalving(
        name="successive_halving", min_epochs=2, reduction_factor=2
    ),
    "Hyperband 1 to 8, x3": Hyperband(name="hyperband", max_epochs=MAX_EPOCHS),
    "Hyperband 2 to 8, x2": Hyperband(
        name="hyperband", min_epochs=2, max_epochs=MAX_EPOCHS, reduction_factor=2
    ),
    "threshold 0.3 after epoch 2": Threshold(name="threshold", lower=0.3),
    "keep 1/3 after epoch 1": KeepAfter(name="keep_after", epoch=1),
    "keep 1/3 after epoch 2": KeepAfter(name="keep_after"),
    "keep 1/3 after epoch 3": KeepAfter(name="keep_after", epoch=3),
    "keep 1/2 after epoch 2": KeepAfter(name="keep_after", share=0.5),
}


class Outcome(NamedTuple):
    """What a study spent and found."""

    epochs: int
    best_dice: float  # of the trials that ran to their end


def replay(
    storage: Storage, settings: PrunerSettings, curves: Sequence[Curve], n_workers: int
) -> Outcome:
    """Run a study of these curves, in this order; every worker does one epoch in turn."""
    study = optuna.create_study(storage=storage.optuna, direction="maximize")
    pruner = Pruner(
        settings=settings,
        storage=storage,
        study_id=study._study_id,
        study_name=study.study_name,
    )
    waiting, complete, epochs = list(reversed(curves)), [0.0], 0
    running: list[tuple[int, Curve, count[int]]] = []
    while waiting or running:
        while waiting and len(running) < n_workers:
            trial_id = storage.optuna.create_new_trial(study._study_id)
            running.append((trial_id, waiting.pop(), count(1)))
        for trial in tuple(running):
            trial_id, curve, next_epoch = trial
            epoch, epochs = next(next_epoch), epochs + 1
            storage.optuna.set_trial_intermediate_value(trial_id, epoch, curve[epoch - 1])
            if epoch == len(curve):
                best = max(curve)
                storage.optuna.set_trial_state_values(trial_id, TrialState.COMPLETE, [best])
                complete.append(best)
            elif pruner.should_prune(trial_id, epoch):
                storage.optuna.set_trial_state_values(trial_id, TrialState.PRUNED)
            else:
                continue
            running.remove(trial)
    return Outcome(epochs, max(complete))


def compare(curves: Sequence[Curve], n_workers: int, repetitions: int) -> None:
    """Print what each pruner spent and lost, means over random studies of 3/4 of the curves."""
    size = len(curves) * 3 // 4
    studies = [random.Random(seed).sample(curves, size) for seed in range(repetitions)]
    for name, settings in PRUNERS.items():
        with tempfile.TemporaryDirectory() as folder:
            storage = open_storage(f"sqlite:///{folder}/studies.db")
            outcomes = [replay(storage, settings, study, n_workers) for study in studies]
            storage.engine.dispose()
        pairs = list(zip(outcomes, studies, strict=True))
        spent = [outcome.epochs / sum(map(len, study)) for outcome, study in pairs]
        lost = [max(map(max, study)) - outcome.best_dice for outcome, study in pairs]
        found = statistics.mean(value == 0 for value in lost)
        print(
            f"{n_workers:>7} {name:<28} {statistics.mean(spent):7.2f} "
            f"{statistics.mean(lost):10.4f} {max(lost):7.4f} {found:6.0%}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=Path, default=CURVES)
    parser.add_argument("--repetitions", type=int, default=12)
    parser.add_argument("--workers", type=int, nargs="+", default=(1, 8))
    arguments = parser.parse_args()
    curves = [
        tuple(one["dice"])
        for one in json.loads(arguments.curves.read_text(encoding="utf-8"))["curves"]
    ]
    print(f"{len(curves)} curves, {sum(map(len, curves))} epochs, {arguments.repetitions} studies")
    head = f"{'workers':>7} {'pruner':<28} {'epochs':>7} {'Dice lost':>10} {'most':>7} {'found':>6}"
    print(head)
    for n_workers in arguments.workers:
        compare(curves, n_workers, arguments.repetitions)


if __name__ == "__main__":
    main()
