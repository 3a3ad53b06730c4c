"""What bfloat16 costs in Dice: trainings in pairs, alike but for their precision.

    python benchmarks/precision.py --seeds 8

Phantoms at the local size. A seed's two trainings begin with the same weights and see the same
slices in the same order; the difference is that of their best validation Dice. The interval is
Student's, over the seeds.
"""

import argparse
import math
import platform
import statistics
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from scipy.stats import t

from kidneyseg.ct.development import DevelopmentCases, find_development_cases
from kidneyseg.ct.prepared_cases import PreparedCase
from kidneyseg.environment_files import load_environment
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.single_training import set_up
from kidneyseg.phantom.data_set import write_phantoms
from kidneyseg.phantom.drawing import PhantomSize
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.trainer import Training

CPU = torch.device("cpu")
Precision = Literal["float32", "bfloat16"]


def phantom_cases(folder: Path, n_cases: int, max_epochs: int) -> DevelopmentCases:
    for _ in write_phantoms(folder / "phantom", n_cases, 0, PhantomSize.SMALL):
        pass
    settings = {
        "data.folder": folder / "phantom",
        "common.runs": folder / "runs",
        "training.max_epochs": max_epochs,
        "training.patience": max_epochs,  # none ends before the other
    }
    return find_development_cases(load_environment("local", settings))


def setup_of(
    cases: DevelopmentCases, precision: Precision, learning_rate: float, seed: int
) -> TrainingSetup:
    training = cases.environment.training.model_copy(update={"precision": precision})
    environment = cases.environment.model_copy(update={"training": training})
    return set_up(
        replace(cases, environment=environment), Hyperparameters(learning_rate=learning_rate), seed
    )


def best_dice(setup: TrainingSetup, cases: DevelopmentCases, prepared: list[PreparedCase]) -> float:
    """The best validation Dice of a training."""
    with closing(Training(setup, *cases.datasets(prepared), CPU).epochs()) as epochs:
        return max(result.validation_dice for result in epochs)


def interval(differences: list[float], confidence: float) -> tuple[float, float]:
    """Student's interval of the mean."""
    n = len(differences)
    error = statistics.stdev(differences) / math.sqrt(n)
    half = float(t.ppf((1 + confidence) / 2, n - 1)) * error
    mean = statistics.fmean(differences)
    return mean - half, mean + half


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1, help="more only on an idle machine")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error(f"--seeds {arguments.seeds}: expected 2 or more")
    torch.set_num_threads(arguments.threads)
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {arguments}")
    print("| seed | float32 | bfloat16 | difference |\n|---|---|---|---|")
    differences = []
    with tempfile.TemporaryDirectory() as folder:
        cases = phantom_cases(Path(folder), arguments.cases, arguments.epochs)
        prepared = list(cases.prepare())
        for seed in range(arguments.seeds):
            exact, short = (
                best_dice(
                    setup_of(cases, precision, arguments.learning_rate, seed), cases, prepared
                )
                for precision in ("float32", "bfloat16")
            )
            differences.append(short - exact)
            print(f"| {seed} | {exact:.4f} | {short:.4f} | {short - exact:+.4f} |", flush=True)
    low, high = interval(differences, confidence=0.95)
    print(
        f"bfloat16 less float32: {statistics.fmean(differences):+.4f} "
        f"(95 % interval {low:+.4f} to {high:+.4f}, {len(differences)} seeds)"
    )


if __name__ == "__main__":
    main()
