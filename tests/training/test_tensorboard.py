"""TensorBoard logs, read back by TensorBoard itself."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

from kidneyseg.training.results import EpochResult
from kidneyseg.training.tensorboard import TensorBoardLog
from kidneyseg.training.trainer import Training

LOSSES = {"loss/combined", "loss/dice", "loss/cross_entropy", "dice"}


def read(folder: Path) -> dict[str, dict[int, float]]:
    """Values by tag and epoch."""
    events = EventAccumulator(str(folder))
    events.Reload()
    tags: list[str] = events.Tags()["scalars"]
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in tags}


@pytest.fixture
def results(build_training: Callable[..., Training]) -> list[EpochResult]:
    return list(build_training(training={"patience": 9}).epochs())


def test_both_writers_hold_losses_and_dice_of_every_epoch(
    results: list[EpochResult], tmp_path: Path
) -> None:
    with TensorBoardLog(tmp_path) as log:
        for result in results:
            log.add(result)
    training, validation = read(tmp_path / "training"), read(tmp_path / "validation")
    assert set(training) == LOSSES | {"learning_rate", "slices_per_second"}
    assert set(validation) == LOSSES | {"loss_rises", "best_dice"}
    for result in results:
        for found, losses, dice in (
            (training, result.training_losses, result.training_dice),
            (validation, result.validation_losses, result.validation_dice),
        ):
            epoch = result.epoch
            assert found["loss/combined"][epoch] == pytest.approx(losses.combined)
            assert found["loss/dice"][epoch] == pytest.approx(losses.dice)
            assert found["loss/cross_entropy"][epoch] == pytest.approx(losses.cross_entropy)
            assert found["dice"][epoch] == pytest.approx(dice)
        assert training["learning_rate"][epoch] == pytest.approx(result.learning_rate)
        assert validation["loss_rises"][epoch] == result.loss_rises
        assert validation["best_dice"][epoch] == pytest.approx(
            max(each.validation_dice for each in results[:epoch])
        )


def test_an_interrupted_log_holds_the_epochs_before(
    results: list[EpochResult], tmp_path: Path
) -> None:
    with suppress(KeyboardInterrupt), TensorBoardLog(tmp_path) as log:
        log.add(results[0])
        raise KeyboardInterrupt
    assert list(read(tmp_path / "validation")["dice"]) == [1]


def test_pictures_lie_in_the_order_of_the_names_shown(tmp_path: Path) -> None:
    """Not in that of the cases, which is that of their own names."""
    picture = np.zeros((4, 4, 3), np.uint8)
    with TensorBoardLog(tmp_path) as log:
        log.add_pictures({"case-b": picture, "case-a": picture}, 1)
    (events,) = (tmp_path / "validation").glob("events*")
    content = events.read_bytes()
    assert 0 < content.index(b"case-a") < content.index(b"case-b")
