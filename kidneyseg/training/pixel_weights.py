"""Class weights the size of the slice: balanced by frequency, more at the kidney's border.

After the report and U-Net (Ronneberger et al. 2015, arXiv 1505.04597, equation 2):

    w(x) = w_class(x) + w0 exp(-d(x)^2 / (2 sigma^2)),   then scaled to mean 1 over the slice

with w_class = 1 / (2 f_class), at most 10, f the class's share of the training pixels, and d the
distance in pixels to the nearest border of the kidney, which runs half-way between pixel centres.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_CLASS_WEIGHT = 10.0
REACH = 4  # the border term is left out beyond so many sigmas, where it is below w0 / 2980


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelWeighting:
    """The rule that gives every pixel its weight in the cross-entropy."""

    kidney_fraction: float  # of the training pixels
    border_weight: float  # w0
    border_sigma_px: float  # sigma

    def __call__(
        self,
        labels: Tensor,  # (N, 1, H, W) in [0, 1]
        inside: Tensor,  # (N, 1, H, W) bool; False on padding
    ) -> Tensor:  # (N, 1, H, W), mean 1 over the inside of each slice, 0 on padding
        """Weigh every pixel. A pixel is kidney when at least half of it is."""
        kidney = labels >= 0.5
        weights = torch.where(
            kidney, class_weight(self.kidney_fraction), class_weight(1 - self.kidney_fraction)
        )
        if self.border_weight > 0:
            distance = border_distance_px(kidney, reach=int(REACH * self.border_sigma_px) + 1)
            near = torch.exp(-distance.square() / (2 * self.border_sigma_px**2))
            weights = weights + self.border_weight * near
        weights = weights * inside
        n_inside = inside.flatten(1).sum(1).clamp(min=1)
        mean = weights.flatten(1).sum(1) / n_inside
        return weights / mean.clamp(min=torch.finfo(weights.dtype).tiny).view(-1, 1, 1, 1)


def class_weight(fraction: float) -> float:
    """1 / (2 f), at most 10; 10 for a class that never occurs."""
    return min(LARGEST_CLASS_WEIGHT, 0.5 / fraction) if fraction > 0 else LARGEST_CLASS_WEIGHT


def border_distance_px(
    kidney: Tensor,  # (N, 1, H, W) bool
    reach: int,  # pixels
) -> Tensor:  # (N, 1, H, W) float32
    """Distance of every pixel centre to the border; infinite beyond `reach` pixels.

    The distance to the nearest pixel of the other class, less the half pixel to the border.
    """
    rows = torch.where(kidney, _row_distance(~kidney), _row_distance(kidney))
    # Squared distance along a column of row distances: only pixels of the own class carry theirs,
    # one of the other class stands 0 away from itself.
    nearest = torch.full_like(rows, torch.inf)
    squared = rows.square()
    for offset, here, there in _shifts(rows.shape[-2], reach):
        own = kidney[..., here, :] == kidney[..., there, :]
        step = torch.where(own, squared[..., there, :], 0.0) + offset**2
        nearest[..., here, :] = torch.minimum(nearest[..., here, :], step)
    distance = nearest.sqrt() - 0.5
    return distance.masked_fill(distance > reach, torch.inf)


def _row_distance(target: Tensor) -> Tensor:  # (..., W) bool -> float32
    """Distance along the row to the nearest target pixel; infinite where the row has none."""
    column = torch.arange(target.shape[-1], device=target.device, dtype=torch.float32)
    before = torch.where(target, column, -torch.inf).cummax(-1).values
    after = torch.where(target, -column, -torch.inf).flip(-1).cummax(-1).values.flip(-1)
    return torch.minimum(column - before, -after - column)


def _shifts(n: int, reach: int) -> Iterator[tuple[int, slice, slice]]:
    """(offset, rows that look, rows looked at) for every offset within reach."""
    for offset in range(-min(reach, n - 1), min(reach, n - 1) + 1):
        here = slice(max(0, -offset), n - max(0, offset))
        there = slice(max(0, offset), n - max(0, -offset))
        yield offset, here, there
