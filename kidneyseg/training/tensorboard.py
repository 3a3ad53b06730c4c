"""TensorBoard logs of a training: one writer for training, one for validation."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from kidneyseg.training.results import EpochResult, MeanLosses


class TensorBoardLog:
    """Two writers below a folder, `training/` and `validation/`. Evaluation writes its own."""

    def __init__(self, folder: Path, first_epoch: int = 1) -> None:
        # Whatever an interrupted training wrote of this epoch or later ones is hidden.
        self._training = SummaryWriter(str(folder / "training"), purge_step=first_epoch)
        self._validation = SummaryWriter(str(folder / "validation"), purge_step=first_epoch)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._training.close()
        self._validation.close()

    def add(self, result: EpochResult) -> None:
        """Write one epoch: losses, Dice, learning rate, speed, and both criteria of its end."""
        self.add_training(result)
        _add(self._validation, result.epoch, result.validation_losses, result.validation_dice)
        self._validation.add_scalar("loss_rises", result.loss_rises, result.epoch)
        self._validation.add_scalar("best_dice", result.best_dice, result.epoch)

    def add_training(self, result: EpochResult) -> None:
        """Write what an epoch gave while it trained; of a refit, which has no validation cases."""
        _add(self._training, result.epoch, result.training_losses, result.training_dice)
        self._training.add_scalar("learning_rate", result.learning_rate, result.epoch)
        self._training.add_scalar("slices_per_second", result.slices_per_second, result.epoch)

    def add_pictures(self, pictures: Mapping[str, NDArray[np.uint8]], epoch: int) -> None:
        """Write pictures, (H, W, 3), by name, to the validation log."""
        for name, picture in sorted(pictures.items(), key=lambda item: item[0]):
            self._validation.add_image(name, picture, epoch, dataformats="HWC")


def _add(writer: SummaryWriter, epoch: int, losses: MeanLosses, dice: float) -> None:
    writer.add_scalar("loss/combined", losses.combined, epoch)
    writer.add_scalar("loss/dice", losses.dice, epoch)
    writer.add_scalar("loss/cross_entropy", losses.cross_entropy, epoch)
    writer.add_scalar("dice", dice, epoch)
