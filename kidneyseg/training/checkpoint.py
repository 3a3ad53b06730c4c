"""Checkpoints of a training: everything that the next epoch depends on, in a file per epoch.

    epoch_00003-<first 16 digits of its SHA-256>.safetensors

Weights, batch-norm statistics and the optimiser's state are tensors; the rest is JSON in the file's
header. Nothing random is stored: what an epoch draws follows from seed and epoch alone. A file is
written under a temporary name and renamed, and its name holds its hash: one that was cut or changed
is passed over for the one before.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kidneyseg.files import replacing
from kidneyseg.settings import Part
from kidneyseg.training.results import EpochResult

KEPT = 2  # the newest, and the one before it


class Progress(Part):
    """How far a training is, besides its tensors."""

    setup: str  # fingerprint of all that decides the training's result
    epoch: int  # finished ones
    learning_rate: float  # of the next epoch
    previous_loss: float  # validation
    loss_rises: int
    best_dice: float
    best_epoch: int
    small_batch_size: int
    history: tuple[float, ...]  # validation Dice of each finished epoch
    evaluation_batch_size: int | None = None  # None: not written by an earlier version
    last: EpochResult | None = None  # what the last of them gave


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A training after an epoch."""

    progress: Progress
    tensors: Mapping[str, Tensor]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and remove all but the two newest. Return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    partial = folder / f"epoch_{checkpoint.progress.epoch:05d}.partial"
    with replacing(partial) as temporary:
        save_file(tensors, temporary, {"progress": checkpoint.progress.model_dump_json()})
    path = folder / f"epoch_{checkpoint.progress.epoch:05d}-{_sha256(partial)[:16]}.safetensors"
    partial.replace(path)
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path, setup: str) -> Checkpoint | None:
    """Load the newest whole checkpoint of the training with this fingerprint; None without one."""
    for path in _newest_first(folder):
        if _sha256(path)[:16] != path.stem.partition("-")[2]:
            continue
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                progress = Progress.model_validate_json(metadata.get("progress", ""))
                if progress.setup != setup:
                    continue
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, ValidationError, OSError):
            continue
        return Checkpoint(progress=progress, tensors=tensors)
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch_*-*.safetensors"), reverse=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
