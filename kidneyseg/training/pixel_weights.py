"""Class weights the size of the slice: balanced by frequency, more at the kidney's border.

After the report and U-Net (Ronneberger et al. 2015, arXiv 1505.04597, equation 2):

    w(x) = w_class(x) + w0 exp(-d(x)^2 / (2 sigma^2)),   then scaled to mean 1 over the slice

with w_class = 1 / (2 f_class), at most 10, f the class's share of the training pixels, and d the
distance in pixels to the nearest border of the kidney, which runs half-way between pixel centres.
"""

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
    beyond = (reach + 1) ** 2
    # Squared distances are whole numbers: 16 bits hold those of any reach that a training asks for.
    kind = torch.int16 if beyond + 2 * reach < 2**15 else torch.int32
    squared = torch.stack([kidney, ~kidney]).to(kind) * beyond  # 0 on pixels of the other class
    _spread(squared, -2, reach)
    _spread(squared, -1, reach)
    distance = torch.maximum(*squared).float().sqrt() - 0.5  # one of the two is 0
    return distance.masked_fill(distance > reach, torch.inf)


def _spread(squared: Tensor, dim: int, reach: int) -> None:
    """Lower each squared distance to the least of its line's, each with its own place's added.

    Step by step to the next pixel, which adds 1, then 3, then 5: k steps add k^2 (a parabola
    decomposed; van den Boomgaard 1992).
    """
    n = squared.shape[dim]
    further = torch.empty_like(squared)
    after, before = squared.narrow(dim, 1, n - 1), squared.narrow(dim, 0, n - 1)
    from_before, from_after = further.narrow(dim, 0, n - 1), further.narrow(dim, 1, n - 1)
    for k in range(1, min(reach, n - 1) + 1):
        torch.add(squared, 2 * k - 1, out=further)
        torch.minimum(after, from_before, out=after)
        torch.minimum(before, from_after, out=before)
