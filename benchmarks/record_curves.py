"""Record Dice curves of real trainings on phantoms, for `benchmarks/pruners.py` to replay.

    python benchmarks/record_curves.py --data PHANTOMS --out benchmarks/phantom_curves.json

The phantoms are those of `kidneyseg phantom PHANTOMS --cases 10`. Each training has
hyper-parameters of its own, drawn at random from ranges as a study's are, and at most eight epochs
of a small network on coarse slices; patience ends some earlier, as in a study.
"""

import argparse
import json
import math
import random
from pathlib import Path
from typing import Any

import torch

from kidneyseg.ct.development import find_development_cases
from kidneyseg.ct.slices import SliceDataset
from kidneyseg.environment_files import load_environment
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.provenance import library_versions
from kidneyseg.settings import Environment
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.trainer import Training

SETTINGS = {
    "data.spacing_mm": 8.0,
    "data.slice_size": (48, 48),
    "data.margin_slices": 3,
    "training.max_epochs": 8,
}


def draw(random_: random.Random) -> Hyperparameters:
    """Hyper-parameters at random, wide enough that some trainings learn nothing."""
    return Hyperparameters(
        learning_rate=math.exp(random_.uniform(math.log(3e-4), math.log(3e-2))),
        beta=math.exp(random_.uniform(math.log(0.05), math.log(5.0))),
        batch_size=random_.choice((4, 8, 16)),
        dropout=random_.uniform(0, 0.5),
    )


def dice_curve(
    environment: Environment,
    slices: tuple[SliceDataset, SliceDataset],
    hyperparameters: Hyperparameters,
) -> list[float]:
    """Validation Dice of each epoch of one training."""
    setup = TrainingSetup(
        data=environment.data,
        network=environment.network,
        training=environment.training,
        evaluation=environment.evaluation,
        hyperparameters=hyperparameters,
        seed=0,
        cases="",
    )
    training = Training(setup, *slices, torch.device("cpu"))
    return [result.validation_dice for result in training.epochs()]


def record(environment: Environment, n: int) -> list[dict[str, Any]]:
    """Train `n` networks; print each curve."""
    found = find_development_cases(environment)
    slices = found.datasets(list(found.prepare()))
    random_ = random.Random(0)
    curves = []
    for number in range(n):
        hyperparameters = draw(random_)
        dice = dice_curve(environment, slices, hyperparameters)
        print(number, [round(value, 3) for value in dice], flush=True)
        varied = {"learning_rate", "beta", "batch_size", "dropout"}
        curves.append(
            {
                "hyperparameters": hyperparameters.model_dump(include=varied),
                "dice": [round(value, 6) for value in dice],
            }
        )
    return curves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--n", type=int, default=48)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folders = {"data.folder": arguments.data, "common.runs": arguments.runs}
    curves = record(load_environment("local", {**SETTINGS, **folders}), arguments.n)
    lines = ",\n".join(f"    {json.dumps(curve)}" for curve in curves)
    made_by = f"python benchmarks/record_curves.py --data PHANTOMS --n {arguments.n} --out FILE"
    head = json.dumps({"made_by": made_by, "versions": library_versions()})[:-1]
    arguments.out.write_text(f'{head}, "curves": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
