"""The loss, against closed forms, torch's own cross-entropy and numerical gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kidneyseg.training.loss import (
    dice_loss,
    kidney_logits,
    slice_losses,
    weighted_cross_entropy,
)

CERTAIN = 60.0  # a logit whose sigmoid is 0 or 1 in float32


def random_slices(seed: int = 0, n: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, soft labels and weights in float64, with two padded columns."""
    generator = torch.Generator().manual_seed(seed)
    logits, labels, weights = (
        torch.rand(n, 1, 5, 6, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    weights[..., -2:] = 0
    return 4 * logits - 2, labels, weights


def test_a_perfect_prediction_costs_nothing() -> None:
    labels = torch.zeros(2, 1, 16, 16)
    labels[:, :, 4:10, 5:12] = 1
    losses = slice_losses(
        CERTAIN * (2 * labels - 1), labels, torch.ones_like(labels), alpha=1, beta=0.5
    )
    assert losses.combined.abs().max() < 1e-3


def test_an_empty_slice_predicted_empty_has_dice_loss_0() -> None:
    nothing = torch.zeros(1, 1, 16, 16)
    assert dice_loss(nothing, nothing, torch.ones(1, 1, 16, 16, dtype=torch.bool)).tolist() == [0]


def test_an_empty_slice_predicted_full_has_nearly_the_highest_dice_loss() -> None:
    empty, full = torch.zeros(1, 1, 3, 3), torch.ones(1, 1, 3, 3)
    assert dice_loss(full, empty, full > 0).tolist() == pytest.approx([1 - 1 / 10])


def test_losses_equal_their_closed_form_on_two_pixels() -> None:
    """p = 1/2 and 3/4, t = 1 and 1/4, w = 1.5 and 0.5, by hand."""
    logits = torch.tensor([0.0, math.log(3)], dtype=torch.float64).view(1, 1, 1, 2)
    labels = torch.tensor([1.0, 0.25], dtype=torch.float64).view(1, 1, 1, 2)
    weights = torch.tensor([1.5, 0.5], dtype=torch.float64).view(1, 1, 1, 2)
    losses = slice_losses(logits, labels, weights, alpha=2.0, beta=0.5)
    dice = 1 - (2 * (0.5 * 1 + 0.75 * 0.25) + 1) / ((0.5 + 0.75) + (1 + 0.25) + 1)
    first = -math.log(0.5)
    second = -(0.25 * math.log(0.75) + 0.75 * math.log(0.25))
    entropy = (1.5 * first + 0.5 * second) / 2
    assert losses.dice.item() == pytest.approx(dice, abs=1e-12)
    assert losses.cross_entropy.item() == pytest.approx(entropy, abs=1e-12)
    assert losses.combined.item() == pytest.approx(2 * dice + 0.5 * entropy, abs=1e-12)


def test_cross_entropy_of_weight_1_is_that_of_torch() -> None:
    logits, labels, _ = random_slices()
    ours = weighted_cross_entropy(logits, labels, torch.ones_like(logits))
    theirs = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    torch.testing.assert_close(ours, theirs.mean(dim=(1, 2, 3)))


def test_gradients_are_those_of_numerical_differentiation() -> None:
    logits, labels, weights = random_slices()

    def combined(logits: Tensor) -> Tensor:
        return slice_losses(logits, labels, weights, alpha=1.0, beta=0.5).combined

    assert torch.autograd.gradcheck(combined, (logits.requires_grad_(),))


def test_padding_takes_no_part() -> None:
    logits, labels, weights = random_slices()
    cropped = slice_losses(
        logits[..., :-2], labels[..., :-2], weights[..., :-2], alpha=1.0, beta=0.5
    )
    logits[..., -2:], labels[..., -2:] = CERTAIN, 0
    padded = slice_losses(logits, labels, weights, alpha=1.0, beta=0.5)
    torch.testing.assert_close(padded.dice, cropped.dice)
    torch.testing.assert_close(padded.cross_entropy, cropped.cross_entropy)
    torch.testing.assert_close(padded.combined, cropped.combined)


def test_each_slice_has_its_own_loss_whatever_the_others_are() -> None:
    logits, labels, weights = random_slices()
    together = slice_losses(logits, labels, weights, alpha=1.0, beta=0.5).combined
    apart = [
        slice_losses(logits[i : i + 1], labels[i : i + 1], weights[i : i + 1], alpha=1.0, beta=0.5)
        for i in range(len(logits))
    ]
    torch.testing.assert_close(together, torch.cat([losses.combined for losses in apart]))


def test_certain_wrong_logits_cost_their_size_and_stay_finite() -> None:
    logits = torch.full((1, 1, 2, 2), 1000.0)
    entropy = weighted_cross_entropy(logits, torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    assert entropy.tolist() == [1000]


def test_softmax_over_two_channels_is_the_sigmoid_of_their_difference() -> None:
    logits = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    kidney = torch.softmax(logits, dim=1)[:, 1:2]
    torch.testing.assert_close(torch.sigmoid(kidney_logits(logits)), kidney)


def test_a_single_channel_is_the_logit_of_kidney_itself() -> None:
    logits = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(kidney_logits(logits), logits)
