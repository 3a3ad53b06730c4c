"""The training of one network: a generator of epoch results.

Who calls it loops over the epochs and may stop at any of them; the trainer knows nothing of trials,
progress bars or files.
"""

import math
import time
from collections.abc import Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import StepLR

from kidneyseg.ct.slices import SliceBatch, SliceDataset, image_input
from kidneyseg.errors import TrainingError
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.network import build_quicknat, channels_last
from kidneyseg.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainingSettings
from kidneyseg.training.dice import VolumeDice, true_kidney
from kidneyseg.training.loss import SliceLosses, kidney_logits, slice_losses
from kidneyseg.training.memory import keep_freed_memory
from kidneyseg.training.pixel_weights import PixelWeighting
from kidneyseg.training.stopping import LossRises


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSetup:
    """All that decides a training's result, besides the slices themselves."""

    data: DataSettings
    network: NetworkSettings
    training: TrainingSettings
    evaluation: EvaluationSettings
    hyperparameters: Hyperparameters
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanLosses:
    """Losses averaged over the slices of an epoch."""

    combined: float
    dice: float
    cross_entropy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """What one epoch gave."""

    epoch: int  # from 1
    learning_rate: float  # used in this epoch
    training_losses: MeanLosses
    validation_losses: MeanLosses
    training_dice: float  # per volume, averaged, while training
    validation_dice: float  # per volume, averaged
    dice_of_case: dict[str, float]  # validation
    loss_rises: int  # rises of the validation loss in a row, this epoch's included
    is_best: bool  # the highest validation Dice so far
    is_last: bool  # patience or max_epochs ends the training here
    seconds: float


class Training:
    """One training of a QuickNAT. `epochs()` runs it; `network` holds the current weights."""

    def __init__(
        self,
        setup: TrainingSetup,
        training: SliceDataset,
        validation: SliceDataset,
        device: torch.device,
    ) -> None:
        self.setup = setup
        self.device = device
        self._slices = training
        self._validation = validation
        hyperparameters = setup.hyperparameters
        if device.type == "cpu":
            keep_freed_memory()
        torch.manual_seed(setup.seed)
        network = build_quicknat(setup.network, dropout=hyperparameters.dropout)
        self.network = channels_last(network, device)
        self._optimizer = Adam(
            self.network.parameters(), lr=hyperparameters.learning_rate, fused=True
        )
        self._scheduler = StepLR(
            self._optimizer, step_size=hyperparameters.step_size, gamma=hyperparameters.gamma
        )
        self._weighting = PixelWeighting(
            kidney_fraction=training.kidney_fraction,
            border_weight=hyperparameters.border_weight,
            border_sigma_px=hyperparameters.border_sigma_px,
        )

    def epochs(self) -> Generator[EpochResult, None, None]:
        """Train, yielding after every epoch, until patience or `max_epochs` ends it.

        Raises TrainingError when a loss is no longer a finite number.
        """
        limits = self.setup.training
        rises = LossRises()
        best_dice = -math.inf
        for epoch in range(1, limits.max_epochs + 1):
            start = time.perf_counter()
            learning_rate = float(self._scheduler.get_last_lr()[0])
            training = self._train_epoch(epoch)
            validation = self.validate()
            self._check_finite("training", training.losses, epoch)
            self._check_finite("validation", validation.losses, epoch)
            loss_rises = rises.add(validation.losses.combined)
            is_best = validation.dice > best_dice
            best_dice = max(best_dice, validation.dice)
            is_last = loss_rises >= limits.patience or epoch == limits.max_epochs
            yield EpochResult(
                epoch=epoch,
                learning_rate=learning_rate,
                training_losses=training.losses,
                validation_losses=validation.losses,
                training_dice=training.dice,
                validation_dice=validation.dice,
                dice_of_case=validation.dice_of_case,
                loss_rises=loss_rises,
                is_best=is_best,
                is_last=is_last,
                seconds=time.perf_counter() - start,
            )
            if is_last:
                return

    @torch.no_grad()
    def validate(self) -> "EpochSums":
        """Losses and Dice of the current weights on the validation slices."""
        self.network.eval()
        sums = EpochSums(self._validation, self.device)
        n = self.setup.evaluation.batch_size
        for first in range(0, len(self._validation), n):
            indices = range(first, min(first + n, len(self._validation)))
            batch = self._validation.batch(indices).to(self.device)
            logits, losses = self._forward(batch)
            sums.add(batch, logits, losses, self.setup.evaluation.threshold)
        return sums

    def _train_epoch(self, epoch: int) -> "EpochSums":
        # Everything random in an epoch follows from seed and epoch alone.
        torch.manual_seed(_epoch_seed(self.setup.seed, epoch))
        order = torch.randperm(len(self._slices)).tolist()
        self.network.train()
        sums = EpochSums(self._slices, self.device)
        batch_size = self.setup.hyperparameters.batch_size
        for first in range(0, len(order), batch_size):
            self._step(order[first : first + batch_size], sums)
        self._scheduler.step()
        return sums

    def _check_finite(self, kind: str, losses: MeanLosses, epoch: int) -> None:
        if not math.isfinite(losses.combined):
            raise TrainingError(
                f"{kind} loss is {losses.combined} in epoch {epoch}; try a smaller "
                f"learning_rate than {self.setup.hyperparameters.learning_rate:g}"
            )

    def _step(self, indices: list[int], sums: "EpochSums") -> None:
        """One optimiser step over a batch, a small batch at a time.

        Each slice counts in the gradient as in one large batch, in a last, partial batch too.
        """
        small = self.setup.training.small_batch_size
        self._optimizer.zero_grad(set_to_none=True)
        for first in range(0, len(indices), small):
            batch = self._slices.batch(indices[first : first + small]).to(self.device)
            logits, losses = self._forward(batch)
            (losses.combined.sum() / len(indices)).backward()  # type: ignore[no-untyped-call]
            sums.add(batch, logits.detach(), losses, self.setup.evaluation.threshold)
        self._optimizer.step()

    def _forward(self, batch: SliceBatch) -> tuple[Tensor, SliceLosses]:
        """Logits of kidney, (N, 1, H, W) float32, and the losses of each slice."""
        x = image_input(batch.images, self.setup.data.hu_window)
        with self._precision():
            logits = self.network(x.contiguous(memory_format=torch.channels_last))
        logits = kidney_logits(logits).float()
        labels = batch.soft_labels()
        hyperparameters = self.setup.hyperparameters
        losses = slice_losses(
            logits,
            labels,
            self._weighting(labels, batch.inside.unsqueeze(1)),
            alpha=hyperparameters.alpha,
            beta=hyperparameters.beta,
        )
        return logits, losses

    def _precision(self) -> AbstractContextManager[None]:
        return torch.autocast(
            self.device.type,
            dtype=torch.bfloat16,
            enabled=self.setup.training.precision == "bfloat16",
        )


class EpochSums:
    """Losses and counts of an epoch, kept on the device until they are asked for."""

    def __init__(self, slices: SliceDataset, device: torch.device) -> None:
        self._case_names = slices.case_names
        self._losses = torch.zeros(3, dtype=torch.float64, device=device)
        self._n_slices = 0
        self._dice = VolumeDice(len(slices.case_names), device)

    def add(
        self,
        batch: SliceBatch,
        logits: Tensor,  # (N, 1, H, W)
        losses: SliceLosses,
        threshold: float,
    ) -> None:
        """Count a batch."""
        each = (losses.combined, losses.dice, losses.cross_entropy)
        self._losses += torch.stack([loss.detach().double().sum() for loss in each])
        self._n_slices += len(logits)
        predicted = (torch.sigmoid(logits) > threshold) & batch.inside.unsqueeze(1)
        self._dice.add(predicted, true_kidney(batch.labels, batch.inside), batch.volumes)

    @property
    def losses(self) -> MeanLosses:
        """Averages over the slices."""
        combined, dice, cross_entropy = (self._losses / self._n_slices).tolist()
        return MeanLosses(combined=combined, dice=dice, cross_entropy=cross_entropy)

    @property
    def dice_of_case(self) -> dict[str, float]:
        """The Dice of each volume, by case."""
        return dict(zip(self._case_names, self._dice.per_volume(), strict=True))

    @property
    def dice(self) -> float:
        """The Dice per volume, averaged over the volumes."""
        each = self._dice.per_volume()
        return sum(each) / len(each)


def _epoch_seed(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch) % 2**63
