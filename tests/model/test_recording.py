"""A recorded training: what it leaves behind, and going on after a kill."""

import errno
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kidneyseg.ct.development import DevelopmentCases
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model import recording
from kidneyseg.model.picture_files import write_pictures
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
        encoding="utf-8",
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


def all_cases(cases: DevelopmentCases, runs: Path) -> DevelopmentCases:
    """The same cases with a runs folder of one's own."""
    common = cases.environment.common.model_copy(update={"runs": runs, "pictures": True})
    return replace(cases, environment=cases.environment.model_copy(update={"common": common}))


def test_an_epoch_is_told_while_its_pictures_are_being_written(
    tiny_cases: DevelopmentCases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, written = threading.Event(), list[Path]()

    def slowly(folder: Path, *rest: Any) -> None:
        if not told.wait(20):
            raise TimeoutError("the first epoch was not told")
        write_pictures(folder, *rest)
        written.append(folder)

    monkeypatch.setattr(recording, "write_pictures", slowly)
    cases = all_cases(tiny_cases, tmp_path)
    epochs = train_model(cases, list(cases.prepare()), Hyperparameters(), 0, tmp_path / "model")
    assert next(epochs).is_best
    told.set()
    *_, last = epochs
    assert last.is_last
    assert list(written[0].glob("*.png"))


def test_what_goes_wrong_with_pictures_ends_the_training(
    tiny_cases: DevelopmentCases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recording, "write_pictures", fail)
    cases = all_cases(tiny_cases, tmp_path)
    with pytest.raises(OSError, match="No space left"):
        list(train_model(cases, list(cases.prepare()), Hyperparameters(), 0, tmp_path / "model"))


def test_a_training_that_is_left_early_has_its_pictures(
    tiny_cases: DevelopmentCases, tmp_path: Path
) -> None:
    cases = all_cases(tiny_cases, tmp_path)
    epochs = train_model(cases, list(cases.prepare()), Hyperparameters(), 0, tmp_path / "model")
    next(epochs)
    epochs.close()
    assert list(tmp_path.glob("trainings/*/pictures/*.png"))


def test_pictures_that_a_kill_kept_from_being_written_are_drawn_again(
    tiny_cases: DevelopmentCases, tmp_path: Path
) -> None:
    cases = all_cases(tiny_cases, tmp_path)
    epochs = train_model(cases, list(cases.prepare()), Hyperparameters(), 0, tmp_path / "model")
    next(epochs)
    epochs.close()
    (pictures,) = tmp_path.glob("trainings/*/pictures")
    expected = {path.name: path.read_bytes() for path in pictures.iterdir()}
    shutil.rmtree(pictures)
    again = train_model(cases, list(cases.prepare()), Hyperparameters(), 0, tmp_path / "model")
    second = next(again)
    again.close()
    found = {path.name: path.read_bytes() for path in pictures.iterdir()}
    assert found if second.is_best else found == expected
