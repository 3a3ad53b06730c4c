"""A training that is kept: its best epoch's model, its TensorBoard log, and its checkpoints.

Pictures take longest to write, and nothing depends on them: a thread writes them while the next
epoch is trained.
"""

import shutil
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from kidneyseg.model.folder import describe_model, save_model
from kidneyseg.model.picture_files import write_pictures
from kidneyseg.provenance import Provenance
from kidneyseg.training.checkpoint import load_checkpoint, save_checkpoint
from kidneyseg.training.results import EpochResult
from kidneyseg.training.tensorboard import TensorBoardLog
from kidneyseg.training.trainer import Training

Pictures = Mapping[str, NDArray[np.uint8]]  # (H, W, 3), by case name


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Where a training's files go."""

    model: Path  # the model folder of the best epoch
    tensorboard: Path
    checkpoints: Path
    pictures: Path | None = None  # slices of the best epoch as PNG, and in TensorBoard, too


def resume(training: Training, recording: Recording) -> tuple[float, ...]:
    """Go on from the newest whole checkpoint; return the Dice of the epochs that it holds."""
    checkpoint = load_checkpoint(recording.checkpoints, training.setup.fingerprint)
    if checkpoint is None:
        return ()
    training.resume(checkpoint)
    return checkpoint.progress.history


def record(
    training: Training, recording: Recording, provenance: Provenance
) -> Generator[EpochResult, None, None]:
    """Train, keep what is worth it, and yield every epoch once all of it but pictures is on disk.

    Pictures are there before the next epoch's checkpoint is, and before the last epoch is told.
    Killed at any moment and begun again after `resume`, nothing is lost but the broken epoch.
    """
    if training.device.type == "cuda":
        gpu = torch.cuda.get_device_name(training.device)
        provenance = provenance.model_copy(update={"gpu": gpu})
    log = TensorBoardLog(recording.tensorboard, first_epoch=training.finished_epochs + 1)
    with log, _Gallery(log, recording.pictures) as gallery, closing(training.epochs()) as epochs:
        if training.last is not None and training.last.is_best:
            gallery.hang(training, training.last)  # a kill may have kept them from being written
        for result in epochs:
            log.add(result)
            if result.is_best:
                description = describe_model(training.setup, result, provenance)
                save_model(recording.model, training.network, description)
            gallery.finish()
            if result.is_best:
                gallery.hang(training, result)
            save_checkpoint(recording.checkpoints, training.checkpoint())
            if result.is_last:
                gallery.finish()
            yield result


class _Gallery:
    """Pictures of best epochs, drawn at once and written by a thread of their own."""

    def __init__(self, log: TensorBoardLog, folder: Path | None) -> None:
        self._log = log
        self._folder = folder
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.shutdown()
        if kind is None or kind is GeneratorExit:
            self.finish()

    def hang(self, training: Training, result: EpochResult) -> None:
        """Draw the pictures of the weights as they are, and have them written."""
        if self._folder is not None:
            self._writing = self._thread.submit(
                self._write, self._folder, training.pictures(), result
            )

    def finish(self) -> None:
        """Wait until all are written. Raises what the writing of any has raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, folder: Path, pictures: Pictures, result: EpochResult) -> None:
        self._log.add_pictures(pictures, result.epoch)
        write_pictures(folder, pictures, result.dice_of_case)


def forget(recording: Recording) -> None:
    """Remove the checkpoints of a training that is over."""
    shutil.rmtree(recording.checkpoints, ignore_errors=True)
