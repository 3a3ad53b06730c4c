"""What an epoch gave, and the sums that it is made of."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kidneyseg.training.dice import VolumeDice
from kidneyseg.training.inputs import SliceInputs
from kidneyseg.training.loss import SliceLosses


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
    best_dice: float  # of the epochs so far: the model of that one is kept
    is_last: bool  # patience or max_epochs ends the training here
    seconds: float
    slices_per_second: float  # trained
    skipped_steps: int  # whose loss or gradient was not finite
    small_batch_size: int  # trained at once; halved where memory ran out
    evaluation_batch_size: int  # validated at once; the same
    memory_bytes: int  # the most taken: on a GPU in this epoch, on the CPU since the process began


class EpochSums:
    """Losses and counts of an epoch, kept on the device until they are asked for."""

    def __init__(self, case_names: tuple[str, ...], device: torch.device) -> None:
        self._case_names = case_names
        self._losses = torch.zeros(3, dtype=torch.float64, device=device)
        self._n_slices = torch.zeros((), dtype=torch.int64, device=device)
        self._dice = VolumeDice(len(case_names), device)

    def add(
        self,
        inputs: SliceInputs,
        volumes: Tensor,  # (N,) int64, index of each slice's case
        logits: Tensor,  # (N, 1, H, W) of kidney
        losses: SliceLosses,
        threshold: float,
    ) -> None:
        """Count a batch."""
        each = (losses.combined, losses.dice, losses.cross_entropy)
        self._losses += torch.stack([loss.detach().double().sum() for loss in each])
        self._n_slices += len(logits)
        predicted = (torch.sigmoid(logits.detach()) > threshold) & inputs.inside
        self._dice.add(predicted, inputs.kidney(), volumes)

    def merge(self, other: "EpochSums", *, wanted: Tensor) -> None:
        """Add other sums where `wanted`, a bool on the device, is true."""
        self._losses += torch.where(wanted, other._losses, 0.0)
        self._n_slices += torch.where(wanted, other._n_slices, 0)
        self._dice.merge(other._dice, wanted=wanted)

    def is_finite(self) -> Tensor:
        """Whether the combined loss is a finite number: a bool on the device."""
        return torch.isfinite(self._losses[0])

    @property
    def losses(self) -> MeanLosses:
        """Averages over the slices; not a number where there were none."""
        combined, dice, cross_entropy = (self._losses / self._n_slices).tolist()
        return MeanLosses(combined=combined, dice=dice, cross_entropy=cross_entropy)

    @property
    def dice_of_case(self) -> dict[str, float]:
        """The Dice of each volume, by case; sorted, for the order of pseudonyms tells nothing."""
        return dict(sorted(zip(self._case_names, self._dice.per_volume(), strict=True)))

    @property
    def dice(self) -> float:
        """The Dice per volume, averaged over the volumes."""
        each = self._dice.per_volume()
        return sum(each) / len(each)
