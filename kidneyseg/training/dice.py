"""Dice per volume from exact pixel counts, gathered slice by slice."""

import torch
from torch import Tensor

from kidneyseg.ct.preparation import LABEL_SCALE


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

    def per_volume(self) -> list[float]:
        """The Dice of each volume."""
        shared, predicted, truth = self._counts.cpu().double()
        total = predicted + truth
        dice = torch.where(total > 0, 2 * shared / total.clamp(min=1), 1.0)
        return [float(value) for value in dice]


def true_kidney(
    labels: Tensor,  # (N, rows, columns) uint8, share of kidney x LABEL_SCALE
    inside: Tensor,  # (N, rows, columns) bool
) -> Tensor:  # (N, 1, rows, columns) bool
    """A pixel is kidney when at least half of it is; padding never is."""
    return ((labels >= LABEL_SCALE // 2) & inside).unsqueeze(1)
