"""Class weights: distances against scipy, and the rule's own promises."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from kidneyseg.training.pixel_weights import (
    LARGEST_CLASS_WEIGHT,
    PixelWeighting,
    border_distance_px,
    class_weight,
)

EVERYWHERE = torch.ones(1, 1, 20, 24, dtype=torch.bool)


def random_mask(seed: int, share: float) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = np.random.default_rng(seed).random((20, 24)) < share
    return mask


def scipy_distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance to the nearest pixel of the other class, less the half pixel to the border."""
    other_class = distance_transform_edt(mask) + distance_transform_edt(~mask)
    distance: NDArray[np.float64] = np.asarray(other_class) - 0.5
    return distance


def square(side: int = 8) -> Tensor:
    labels = torch.zeros(1, 1, 20, 24)
    labels[..., 6 : 6 + side, 8 : 8 + side] = 1
    return labels


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_distance_to_the_border_is_that_of_scipy(seed: int, share: float) -> None:
    mask = random_mask(seed, share)
    ours = border_distance_px(torch.from_numpy(mask)[None, None], reach=40)[0, 0].numpy()
    np.testing.assert_allclose(ours, scipy_distance(mask), rtol=1e-6)


def test_distance_is_infinite_beyond_reach_and_exact_within() -> None:
    mask = random_mask(0, 0.01)
    ours = border_distance_px(torch.from_numpy(mask)[None, None], reach=4)[0, 0].numpy()
    expected = scipy_distance(mask)
    assert (expected > 4).any()
    np.testing.assert_allclose(ours, np.where(expected > 4, np.inf, expected), rtol=1e-6)


@pytest.mark.parametrize("reach", [129, 180, 400])
@pytest.mark.parametrize("shape", [(3, 420), (420, 3), (1, 420)])
def test_distance_is_exact_over_hundreds_of_pixels(shape: tuple[int, int], reach: int) -> None:
    mask = np.zeros(shape, np.bool_)
    mask[0, 0] = True
    ours = border_distance_px(torch.from_numpy(mask)[None, None], reach)[0, 0].numpy()
    expected = scipy_distance(mask)
    np.testing.assert_allclose(ours, np.where(expected > reach, np.inf, expected), rtol=1e-6)


def test_slices_of_a_batch_do_not_mix() -> None:
    masks = [torch.from_numpy(random_mask(seed, 0.1)) for seed in (1, 2)]
    both = border_distance_px(torch.stack(masks)[:, None], reach=10)
    for distance, mask in zip(both, masks, strict=True):
        assert torch.equal(distance, border_distance_px(mask[None, None], reach=10)[0])


def test_weights_equal_the_formula() -> None:
    labels = square()
    weights = PixelWeighting(kidney_fraction=0.1, border_weight=4.0, border_sigma_px=3.0)(
        labels, EVERYWHERE
    )
    kidney = labels[0, 0].numpy() > 0
    near = np.exp(-(scipy_distance(kidney) ** 2) / (2 * 3.0**2))
    expected = np.where(kidney, 1 / 0.2, 1 / 1.8) + 4.0 * near
    expected /= expected.mean()
    # The border term ends at 4 sigma, where it is below 4 / 2980 of a mean weight near 2.
    np.testing.assert_allclose(weights[0, 0].numpy(), expected, atol=4 / 2980)


def test_mean_is_1_inside_and_padding_weighs_nothing() -> None:
    inside = EVERYWHERE.clone()
    inside[..., :5] = False
    weights = PixelWeighting(kidney_fraction=0.05, border_weight=4.0, border_sigma_px=3.0)(
        square(), inside
    )
    assert weights[inside].mean().item() == pytest.approx(1, abs=1e-5)
    assert weights[~inside].abs().max() == 0
    assert weights[inside].min() > 0


def test_without_border_weight_only_the_class_counts() -> None:
    labels = square()
    weights = PixelWeighting(kidney_fraction=0.2, border_weight=0.0, border_sigma_px=3.0)(
        labels, EVERYWHERE
    )
    kidney, background = weights[labels > 0], weights[labels == 0]
    assert kidney.min() == kidney.max()
    assert background.min() == background.max()
    assert (kidney[0] / background[0]).item() == pytest.approx((1 / 0.4) / (1 / 1.6))


def test_weight_falls_with_the_distance_from_the_border() -> None:
    row = PixelWeighting(kidney_fraction=0.5, border_weight=4.0, border_sigma_px=3.0)(
        square(), EVERYWHERE
    )[0, 0, 9, :8]
    assert (row.diff() >= 0).all()
    assert row[7] > 2 * row[0]


def test_class_weights_balance_the_classes() -> None:
    assert class_weight(0.25) == 2
    assert class_weight(0.75) == pytest.approx(2 / 3)


@pytest.mark.parametrize("fraction", [0.0, 1e-9, 0.01])
def test_a_rare_class_weighs_at_most_10(fraction: float) -> None:
    assert class_weight(fraction) == LARGEST_CLASS_WEIGHT


def test_a_slice_without_kidney_weighs_1_everywhere() -> None:
    weights = PixelWeighting(kidney_fraction=0.01, border_weight=4.0, border_sigma_px=3.0)(
        torch.zeros(1, 1, 20, 24), EVERYWHERE
    )
    torch.testing.assert_close(weights, torch.ones_like(weights))


def test_a_pixel_is_kidney_from_one_half() -> None:
    labels = torch.full((1, 1, 16, 16), 0.49)
    labels[..., 8:] = 0.5
    inside = torch.ones_like(labels, dtype=torch.bool)
    weights = PixelWeighting(kidney_fraction=0.1, border_weight=0.0, border_sigma_px=1.0)(
        labels, inside
    )
    ratio = weights[..., 8:].mean() / weights[..., :8].mean()
    assert math.isclose(ratio.item(), 9, rel_tol=1e-5)
