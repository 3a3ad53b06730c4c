"""The training of one trial in a process of its own.

Out of memory, a segmentation fault or a driver that hangs ends this process and nothing else, and
all of a GPU's memory comes back. It never sees the database: it tells of every epoch, and waits to
hear whether to go on.
"""

import faulthandler
import os
import queue
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, redirect_stderr
from multiprocessing.connection import Connection

import torch

from kidneyseg.ct.slices import SliceDataset
from kidneyseg.errors import last_lines, one_line
from kidneyseg.files import is_disk_full
from kidneyseg.model.recording import Recording, record, resume
from kidneyseg.runs import CRASH_FILE
from kidneyseg.search.trial_order import (
    FOR_THE_WORKER,
    GO_ON,
    CaseFolder,
    EpochReport,
    Failed,
    Message,
    Resumed,
    TrialOrder,
    Written,
)
from kidneyseg.search.written_lines import WrittenLines
from kidneyseg.training.device import find_device
from kidneyseg.training.results import EpochResult, MeanLosses
from kidneyseg.training.trainer import Training

_sending = threading.RLock()  # of a message at a time: any thread may write to stderr


def train_trial(order_json: str, pipe: Connection) -> None:
    """Be the process: train as ordered, tell of it through the pipe, end where it says so."""
    for name in FOR_THE_WORKER:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    answers = _answers(pipe)
    try:
        order = TrialOrder.model_validate_json(order_json)
        order.folder.mkdir(parents=True, exist_ok=True)
        with (order.folder / CRASH_FILE).open("w", encoding="utf-8") as crash:
            faulthandler.enable(crash)  # a crash in a library leaves its place there
            with _stderr_told(pipe):
                _train(order, pipe, answers)
            faulthandler.disable()
    except Exception as error:  # noqa: BLE001 - whatever it dies of is told
        failed = Failed(
            reason=one_line(error),
            traceback=last_lines(error),
            disk_full=is_disk_full(error),
        )
        _send(pipe, failed)


@contextmanager
def _stderr_told(pipe: Connection) -> Iterator[None]:
    """What is written to stderr, by warnings and logging too, is told line by line."""
    written = WrittenLines(lambda line: _send(pipe, Written(line=line)), sys.stderr)
    try:
        with redirect_stderr(written):
            yield
    finally:
        written.end()


def _train(order: TrialOrder, pipe: Connection, answers: "queue.SimpleQueue[bytes]") -> None:
    with closing(_messages(order)) as messages:
        for message in messages:
            _send(pipe, message)
            if isinstance(message, EpochReport) and answers.get() != GO_ON:
                return


def _messages(order: TrialOrder) -> Generator[Message, None, None]:
    torch.set_num_threads(order.threads)
    device = find_device(order.device)
    training = Training(
        order.setup,
        _slices(order, order.training_cases).resident(device),
        _slices(order, order.validation_cases).resident(device),
        device,
    )
    recording = Recording(
        model=order.folder / "model",
        tensorboard=order.folder / "tensorboard",
        checkpoints=order.folder / "checkpoints",
        pictures=order.folder / "pictures" if order.pictures else None,
    )
    yield Resumed(history=resume(training, recording))
    if training.last is not None:
        # Whoever trained it may have died before it was told, or decided on.
        yield _report(training.last)
    with closing(record(training, recording, order.provenance)) as epochs:
        for result in epochs:
            yield _report(result)


def _slices(order: TrialOrder, cases: tuple[CaseFolder, ...]) -> SliceDataset:
    opened = [case.open() for case in cases]
    return SliceDataset(opened, order.data.slice_size, order.network.input_slices)


def _report(result: EpochResult) -> EpochReport:
    return EpochReport(
        epoch=result.epoch,
        is_last=result.is_last,
        dice=result.validation_dice,
        best_dice=result.best_dice,
        training_losses=_three(result.training_losses),
        validation_losses=_three(result.validation_losses),
        learning_rate=result.learning_rate,
        seconds=result.seconds,
        memory_bytes=result.memory_bytes,
        skipped_steps=result.skipped_steps,
        small_batch_size=result.small_batch_size,
        evaluation_batch_size=result.evaluation_batch_size,
    )


def _three(losses: MeanLosses) -> tuple[float, float, float]:
    return losses.combined, losses.dice, losses.cross_entropy


def _answers(pipe: Connection) -> "queue.SimpleQueue[bytes]":
    """The worker's answers, read in a thread; where the worker is gone, the process ends."""
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        while True:
            try:
                answers.put(pipe.recv_bytes())
            except (EOFError, OSError):
                os._exit(1)

    threading.Thread(target=read, name="answers", daemon=True).start()
    return answers


def _send(pipe: Connection, message: Message) -> None:
    try:
        with _sending:
            pipe.send_bytes(message.model_dump_json().encode())
    except BrokenPipeError:
        os._exit(1)  # the worker is gone
