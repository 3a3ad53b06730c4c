"""A training that is kept: its best epoch's model, its TensorBoard log, and its checkpoints."""

import shutil
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from kidneyseg.model.folder import describe_model, save_model
from kidneyseg.model.picture_files import write_pictures
from kidneyseg.provenance import Provenance
from kidneyseg.training.checkpoint import load_checkpoint, save_checkpoint
from kidneyseg.training.results import EpochResult
from kidneyseg.training.tensorboard import TensorBoardLog
from kidneyseg.training.trainer import Training


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
    """Train, keep what is worth it, and yield every epoch once all of it is on disk.

    Killed at any moment and begun again after `resume`, nothing is lost but the broken epoch.
    """
    if training.device.type == "cuda":
        gpu = torch.cuda.get_device_name(training.device)
        provenance = provenance.model_copy(update={"gpu": gpu})
    log = TensorBoardLog(recording.tensorboard, first_epoch=training.finished_epochs + 1)
    with log, closing(training.epochs()) as epochs:
        for result in epochs:
            log.add(result)
            if result.is_best:
                description = describe_model(training.setup, result, provenance)
                save_model(recording.model, training.network, description)
                if recording.pictures is not None:
                    pictures = training.pictures()
                    log.add_pictures(pictures, result.epoch)
                    write_pictures(recording.pictures, pictures, result.dice_of_case)
            save_checkpoint(recording.checkpoints, training.checkpoint())
            yield result


def forget(recording: Recording) -> None:
    """Remove the checkpoints of a training that is over."""
    shutil.rmtree(recording.checkpoints, ignore_errors=True)
