"""alpha x Dice loss + beta x weighted binary cross-entropy, per slice and on logits.

Both losses belong to one slice and are averaged over the slices of a batch, so that the gradient of
a batch is the mean of its slices' gradients however the batch is cut into small ones.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTH = 1.0  # of the Dice loss


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceLosses:
    """Losses of each slice of a batch."""

    combined: Tensor  # (N,), alpha x dice + beta x cross_entropy
    dice: Tensor  # (N,)
    cross_entropy: Tensor  # (N,), weighted


def kidney_logits(logits: Tensor) -> Tensor:  # (N, 1 or 2, H, W) -> (N, 1, H, W)
    """The logit of kidney. Softmax over two channels is the sigmoid of their difference."""
    if logits.shape[1] == 1:
        return logits
    return logits[:, 1:2] - logits[:, 0:1]


def slice_losses(
    logits: Tensor,  # (N, 1, H, W) of kidney
    labels: Tensor,  # (N, 1, H, W) in [0, 1], soft
    weights: Tensor,  # (N, 1, H, W), mean 1 inside each slice, 0 on padding
    *,
    alpha: float,
    beta: float,
) -> SliceLosses:
    """The losses of every slice; pixels of weight 0 take no part in either."""
    inside = weights > 0
    dice = dice_loss(torch.sigmoid(logits), labels, inside)
    cross_entropy = weighted_cross_entropy(logits, labels, weights)
    combined = alpha * dice + beta * cross_entropy
    return SliceLosses(combined=combined, dice=dice, cross_entropy=cross_entropy)


def dice_loss(
    probabilities: Tensor,  # (N, 1, H, W) in [0, 1]
    labels: Tensor,  # (N, 1, H, W) in [0, 1]
    inside: Tensor,  # (N, 1, H, W) bool
) -> Tensor:  # (N,) in [0, 1]
    """1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1) over the pixels of each slice (the report).

    0 for an empty slice predicted empty.
    """
    p, t = (probabilities * inside).flatten(1), (labels * inside).flatten(1)
    return 1 - (2 * (p * t).sum(1) + SMOOTH) / (p.sum(1) + t.sum(1) + SMOOTH)


def weighted_cross_entropy(
    logits: Tensor,  # (N, 1, H, W)
    labels: Tensor,  # (N, 1, H, W) in [0, 1]
    weights: Tensor,  # (N, 1, H, W)
) -> Tensor:  # (N,)
    """-mean over the slice's own pixels of w (t log p + (1 - t) log(1 - p)), from logits."""
    entropy = F.binary_cross_entropy_with_logits(logits, labels, weight=weights, reduction="none")
    n_inside = (weights > 0).flatten(1).sum(1).clamp(min=1)
    return entropy.flatten(1).sum(1) / n_inside
