"""A process that trains as ordered: bit for bit as a training in any other process."""

import json
import logging
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from kidneyseg.errors import TRACEBACK_CHARACTERS, TrainingError
from kidneyseg.search import trial_process
from kidneyseg.search.objective import Workplace
from kidneyseg.search.storage import Storage
from kidneyseg.search.training_process import training_process
from kidneyseg.search.trial_order import (
    AnyMessage,
    EpochReport,
    Failed,
    Message,
    Resumed,
    TrialOrder,
    Written,
)
from kidneyseg.search.trial_process import _stderr_told, train_trial
from kidneyseg.training.trainer import Training

BuildOrder = Callable[..., TrialOrder]


@pytest.fixture
def workplace(storage: Storage, build_workplace: Callable[..., Workplace]) -> Workplace:
    return build_workplace(storage)


@pytest.fixture
def order(workplace: Workplace, build_order: BuildOrder) -> TrialOrder:
    """A training of two epochs on one thread."""
    return build_order(workplace, workplace.study.optuna.ask(), threads=1)


def train(order: TrialOrder, workplace: Workplace) -> list[Message]:
    """Train in a process; all that it told."""
    told: list[Message] = []
    with training_process(order, workplace.study.definition.limits) as process:
        for message in process.messages():
            if message is None:
                continue
            told.append(message)
            if isinstance(message, EpochReport):
                process.go_on()
    return told


def bits(number: float) -> bytes:
    return struct.pack("d", number)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    (file,) = folder.glob("*.safetensors")
    return dict(load_file(file))


def test_what_anybody_in_it_writes_to_stderr_is_told_line_by_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def warn() -> None:
        assert logging.lastResort is not None
        logging.lastResort.handle(logging.makeLogRecord({"msg": "old name"}))

    here, there = Pipe()
    with _stderr_told(there):
        thread = threading.Thread(target=warn)
        thread.start()
        thread.join()
        sys.stderr.write("disk is slow\n\nno end")
    sys.stderr.write("after it\n")
    there.close()
    told = []
    with suppress(EOFError):
        while True:
            told.append(AnyMessage.model_validate_json(here.recv_bytes()).root)
    lines = ["old name", "disk is slow", "no end"]
    assert told == [Written(line=line) for line in lines]
    assert capfd.readouterr().err == "after it\n"


def test_a_training_tells_what_is_written_to_its_stderr_before_it_tells_how_it_ended(
    order: TrialOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: object) -> None:
        sys.stderr.write("disk is slow\nno end")
        raise TrainingError("it ended")

    monkeypatch.setattr(trial_process, "_train", train)
    # This is no process of its own: it keeps its signals, and outlives the pipe's other end.
    monkeypatch.setattr(trial_process, "FOR_THE_WORKER", ())
    monkeypatch.setattr(trial_process, "_answers", lambda _: None)
    monkeypatch.setattr("faulthandler.enable", lambda _: None)
    here, there = Pipe()
    train_trial(order.model_dump_json(), there)
    there.close()
    told = [AnyMessage.model_validate_json(here.recv_bytes()).root for _ in range(3)]
    assert told[:2] == [Written(line="disk is slow"), Written(line="no end")]
    assert isinstance(told[2], Failed)
    assert told[2].reason.endswith("it ended")


def test_what_it_tells_is_bit_identical_to_a_training_in_this_process(
    workplace: Workplace, order: TrialOrder
) -> None:
    resumed, *reports = train(order, workplace)
    cases = list(workplace.cases.prepare())
    training = Training(order.setup, *workplace.cases.datasets(cases), torch.device("cpu"))
    results, best = [], {}
    for result in training.epochs():
        results.append(result)
        if result.is_best:
            best = {name: tensor.clone() for name, tensor in training.network.state_dict().items()}
    assert resumed == Resumed(history=())
    assert len(reports) == len(results) == 2
    for report, result in zip(reports, results, strict=True):
        assert isinstance(report, EpochReport)
        mine, theirs = result.validation_losses, report.validation_losses
        assert bits(report.dice) == bits(result.validation_dice)
        assert [bits(loss) for loss in theirs] == [
            bits(loss) for loss in (mine.combined, mine.dice, mine.cross_entropy)
        ]
        assert bits(report.training_losses[0]) == bits(result.training_losses.combined)
        assert bits(report.learning_rate) == bits(result.learning_rate)
        assert (report.epoch, report.is_last) == (result.epoch, result.is_last)
    saved = weights(order.folder / "model")
    assert saved.keys() == best.keys()
    assert all(torch.equal(saved[name], best[name]) for name in best)


def test_it_keeps_the_model_the_log_and_the_checkpoints_of_the_trial(
    workplace: Workplace, order: TrialOrder
) -> None:
    train(order, workplace)
    description = json.loads((order.folder / "model/model.json").read_text(encoding="utf-8"))
    assert description["provenance"]["study"] == "tiny"
    assert len(list((order.folder / "checkpoints").glob("epoch_*.safetensors"))) == 2
    assert list((order.folder / "tensorboard").rglob("events.out.tfevents.*"))


def in_this_process(order: TrialOrder, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Be the process, without its signals and without a worker that disappears."""
    ours, theirs = Pipe()
    monkeypatch.setattr(trial_process, "FOR_THE_WORKER", ())
    monkeypatch.setattr(trial_process, "_answers", Answers)
    train_trial(order.model_dump_json(), theirs)
    theirs.close()
    told = []
    while ours.poll():
        try:
            told.append(json.loads(ours.recv_bytes()))
        except EOFError:
            break
    ours.close()
    return told


class Answers:
    """A worker that always says to go on."""

    def __init__(self, _: Connection) -> None:
        pass

    def get(self) -> bytes:
        return b"go on"


def test_whatever_it_dies_of_is_told_with_its_last_lines(
    order: TrialOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("the first line\n" + ("x" * 99 + "\n") * 80 + "the last line")

    monkeypatch.setattr(trial_process, "Training", broken)
    (told,) = in_this_process(order, monkeypatch)
    assert told["kind"] == "failed"
    assert told["reason"] == "MemoryError: the first line"
    assert told["traceback"].endswith("the last line\n")
    *cut, _ = told["traceback"].splitlines()
    assert set(cut) == {"x" * 99}  # whole lines: no part of a name is left at the beginning
    assert TRACEBACK_CHARACTERS - 100 <= len(told["traceback"]) <= TRACEBACK_CHARACTERS


def test_a_training_that_cannot_go_on_says_so_in_its_own_words(
    order: TrialOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "training loss is nan in epoch 2; try a smaller learning_rate than 3"

    def endless(*_: object) -> None:
        raise TrainingError(words)

    monkeypatch.setattr(Training, "epochs", endless)
    resumed, failed = in_this_process(order, monkeypatch)
    assert resumed["kind"] == "resumed"
    assert failed["reason"] == words
    assert f"TrainingError: {words}" in failed["traceback"]


@pytest.mark.parametrize("part", ["device", "case"])
def test_a_process_that_cannot_begin_says_why(
    workplace: Workplace, order: TrialOrder, part: str, tmp_path: Path
) -> None:
    first, *others = order.training_cases
    gone = first.model_copy(update={"folder": tmp_path / "gone"})
    parts: dict[str, dict[str, Any]] = {
        "device": {"device": "cuda:99"},
        "case": {"training_cases": (gone, *others)},
    }
    (told,) = train(order.model_copy(update=parts[part]), workplace)
    assert isinstance(told, Failed)
    words = {"device": "device 'cuda:99'", "case": "FileNotFoundError"}
    assert words[part] in told.reason
    assert "Traceback (most recent call last)" in told.traceback
    assert "trial_process.py" in told.traceback
