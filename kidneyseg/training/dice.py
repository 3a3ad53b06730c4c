"""Dice per volume from exact pixel counts, gathered slice by slice."""

import torch
from torch import Tensor


class VolumeDice:
    """Counts of predicted, true and shared kidney pixels of each volume.

    Dice = 2 |P and T| / (|P| + |T|), 1 where both are empty, 0 where one is.
    """

    def __init__(self, n_volumes: int, device: torch.device) -> None:
        self._counts = torch.zeros(3, n_volumes, dtype=torch.int64, device=device)

    def add(
        self,
        predicted: Tensor,  # (N, 1, H, W) bool
        truth: Tensor,  # (N, 1, H, W) bool
        volumes: Tensor,  # (N,) int64, index of each slice's volume
    ) -> None:
        """Count some slices."""
        counts = torch.stack(
            [pixels.flatten(1).sum(1) for pixels in (predicted & truth, predicted, truth)]
        )
        self._counts.index_add_(1, volumes, counts)

    def merge(self, other: "VolumeDice", *, wanted: Tensor) -> None:
        """Add other counts where `wanted`, a bool on the device, is true."""
        self._counts += torch.where(wanted, other._counts, 0)

    def per_volume(self) -> list[float]:
        """The Dice of each volume."""
        shared, predicted, truth = self._counts.cpu().double()
        total = predicted + truth
        dice = torch.where(total > 0, 2 * shared / total.clamp(min=1), 1.0)
        return [float(value) for value in dice]
