"""A recorded training: what it leaves behind, and going on after a kill."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kidneyseg.ct.development import DevelopmentCases
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.single_training import train_model

PROGRAM = """
import os, signal, sys
from pathlib import Path
from kidneyseg.ct.development import find_development_cases
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.single_training import train_model
from kidneyseg.settings import Environment

environment = Environment.model_validate_json(sys.argv[1])
cases = find_development_cases(environment)
for result in train_model(
    cases, list(cases.prepare()), Hyperparameters(batch_size=7), 5, Path(sys.argv[2])
):
    print(result.epoch, result.validation_dice, flush=True)
    if result.epoch == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def run(cases: DevelopmentCases, runs: Path, kill_after: int) -> tuple[list[str], int]:
    """Train in a process of its own; the lines it printed and how it ended."""
    environment = cases.environment
    common = environment.common.model_copy(update={"runs": runs})
    training = environment.training.model_copy(update={"max_epochs": 4, "patience": 9})
    environment = environment.model_copy(update={"common": common, "training": training})
    done = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, environment.model_dump_json()),
            *(str(runs / "model"), str(kill_after)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines(), done.returncode


def dice_curve(folder: Path) -> dict[int, float]:
    """Epochs and Dice of a TensorBoard log, epochs that were purged left out."""
    log = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    log.Reload()
    return {event.step: event.value for event in log.Scalars("dice")}


def test_killed_twice_it_ends_as_if_nothing_had_happened(
    tiny_cases: DevelopmentCases, tmp_path: Path
) -> None:
    """The same curve, the same weights; no epoch trained twice, the broken ones apart."""
    whole, code = run(tiny_cases, tmp_path / "whole", kill_after=0)
    assert code == 0
    first, first_code = run(tiny_cases, tmp_path / "cut", kill_after=1)
    second, second_code = run(tiny_cases, tmp_path / "cut", kill_after=3)
    third, third_code = run(tiny_cases, tmp_path / "cut", kill_after=0)
    assert (first_code, second_code, third_code) == (-signal.SIGKILL, -signal.SIGKILL, 0)
    assert first + second + third == whole
    expected = load_file(tmp_path / "whole" / "model" / "model.safetensors")
    found = load_file(tmp_path / "cut" / "model" / "model.safetensors")
    assert all(found[name].equal(value) for name, value in expected.items())
    (log,) = (tmp_path / "cut" / "trainings").glob("*/tensorboard/validation")
    assert sorted(dice_curve(log)) == [1, 2, 3, 4]


@pytest.mark.parametrize("pictures", [True, False])
def test_pictures_can_be_switched_off(
    tiny_cases: DevelopmentCases, tmp_path: Path, *, pictures: bool
) -> None:
    common = tiny_cases.environment.common.model_copy(
        update={"runs": tmp_path, "pictures": pictures}
    )
    environment = tiny_cases.environment.model_copy(update={"common": common})
    cases = DevelopmentCases(
        environment=environment,
        cache=tiny_cases.cache,
        split=tiny_cases.split,
        cases=tiny_cases.cases,
        selected=tiny_cases.selected,
    )
    list(train_model(cases, list(cases.prepare()), Hyperparameters(), 0, tmp_path / "model"))
    (log,) = tmp_path.glob("trainings/*/tensorboard/validation")
    found = EventAccumulator(str(log), size_guidance={"images": 0})
    found.Reload()
    assert bool(found.Tags()["images"]) is pictures


def test_no_checkpoint_is_left_of_a_training_that_is_over(
    tiny_cases: DevelopmentCases, tmp_path: Path
) -> None:
    _, code = run(tiny_cases, tmp_path, kill_after=0)
    assert code == 0
    assert not list(tmp_path.glob("trainings/*/checkpoints"))
