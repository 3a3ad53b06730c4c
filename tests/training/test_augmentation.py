"""Augmentation: off by default, image and labels together, the same for the same seed."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kidneyseg.training import augmentation
from kidneyseg.training.augmentation import Augmentation
from kidneyseg.training.inputs import SliceInputs


def disc(n: int = 64, size: int = 48, channels: int = 1) -> SliceInputs:
    """A bright disc off the centre on a dark slice, labelled."""
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    inside = ((row - 20.0) ** 2 + (column - 28.0) ** 2) < 8**2
    labels = inside.float().expand(n, 1, size, size).clone()
    images = (labels * 1.2 - 0.6).expand(n, channels, size, size).clone()
    return SliceInputs(images=images, labels=labels, inside=torch.ones_like(labels) > 0)


def changed(strength: float, inputs: SliceInputs, seed: int = 0) -> SliceInputs:
    torch.manual_seed(seed)
    return Augmentation(strength=strength)(inputs)


def test_strength_0_changes_nothing_and_draws_nothing() -> None:
    inputs = disc()
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    assert Augmentation(strength=0)(inputs) is inputs
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_same_seed_gives_the_same_slices_and_another_gives_others() -> None:
    inputs = disc()
    first, second, other = changed(1, inputs), changed(1, inputs), changed(1, inputs, seed=1)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.labels, second.labels)
    assert not torch.equal(first.images, other.images)


def test_labels_move_with_the_image() -> None:
    """Without noise and gamma, the disc in the image is the disc in the labels."""
    inputs = disc()
    moved = changed(1, inputs)
    bright = (moved.images > 0).float()
    dice = 2 * (bright * moved.kidney()).sum() / (bright.sum() + moved.kidney().sum())
    assert dice > 0.93
    assert (moved.kidney() & inputs.kidney()).sum() / inputs.kidney().sum() < 0.8


def test_every_slice_is_changed_on_its_own() -> None:
    moved = changed(1, disc(n=8))
    assert len({tuple(slice_.flatten().tolist()) for slice_ in moved.labels}) == 8


def test_neighbouring_channels_move_together() -> None:
    moved = changed(1, disc(channels=3), seed=2)
    noise_free = (moved.images > 0).float().mean(0)
    for channel in range(3):
        assert (noise_free[channel] - noise_free[0]).abs().max() < 0.2


def test_values_keep_their_ranges() -> None:
    moved = changed(1, disc())
    assert moved.images.min() >= -1
    assert moved.images.max() <= 1
    assert moved.labels.min() >= 0
    assert moved.labels.max() <= 1
    assert not moved.labels[~moved.inside].any()


def area(labels: Tensor) -> Tensor:
    return labels.sum((1, 2, 3))


def centre(labels: Tensor) -> Tensor:
    rows = torch.arange(labels.shape[2]).view(1, 1, -1, 1)
    columns = torch.arange(labels.shape[3]).view(1, 1, 1, -1)
    total = area(labels)
    return torch.stack(
        [(labels * rows).sum((1, 2, 3)) / total, (labels * columns).sum((1, 2, 3)) / total], 1
    )


def test_changes_stay_within_their_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed forms: an area grows by at most the scale squared, a centre moves at most so far."""
    monkeypatch.setattr(augmentation, "ELASTIC", 0.0)
    inputs = disc(n=200)
    moved = changed(1, inputs)
    ratio = area(moved.labels) / area(inputs.labels)
    assert ratio.max() <= 1.2**2 * 1.02
    assert ratio.min() >= 0.8**2 * 0.98
    assert ratio.max() > 1.3
    assert ratio.min() < 0.75
    about_centre = math.hypot(20 - 23.5, 28 - 23.5)
    turned = 2 * about_centre * math.sin(math.radians(10))
    farthest = 1.2 * (math.hypot(4.8, 4.8) + turned + 0.2 * about_centre) + 1
    shift = (centre(moved.labels) - centre(inputs.labels)).norm(dim=1)
    assert shift.max() < farthest
    assert shift.max() > 4.8


def test_a_disc_stays_round_on_slices_that_are_not_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotation is one of pixels, not of the slice's two half sizes."""
    for name in ("ELASTIC", "SCALING", "TRANSLATION"):
        monkeypatch.setattr(augmentation, name, 0.0)
    monkeypatch.setattr(augmentation, "ROTATION_DEGREES", 90.0)
    row, column = torch.meshgrid(torch.arange(40), torch.arange(80), indexing="ij")
    labels = ((row - 19.5) ** 2 + (column - 39.5) ** 2 < 10**2).float().expand(50, 1, 40, 80)
    inputs = SliceInputs(images=labels * 1.0, labels=labels.clone(), inside=labels >= 0)
    moved = changed(1, inputs)
    assert area(moved.labels).min() > 0.97 * area(labels).min()
    same = (
        2
        * (moved.kidney() & inputs.kidney()).sum()
        / (moved.kidney().sum() + inputs.kidney().sum())
    )
    assert same > 0.98


def test_it_draws_a_few_numbers_for_each_slice_and_nothing_of_a_slices_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the CPU, whatever the slices' device: the host would hold up a GPU."""
    drawn: list[int] = []

    def count(name: str) -> None:
        draw = getattr(torch, name)

        def counted(*args: Any, **options: Any) -> Tensor:
            found: Tensor = draw(*args, **options)
            drawn.append(found.numel() if options.get("generator") is None else 0)
            return found

        monkeypatch.setattr(torch, name, counted)

    for name in ("rand", "randn", "randint"):
        count(name)
    changed(1, disc(n=4, size=48))
    assert 0 < sum(drawn) < 4 * 100


def test_noise_is_drawn_anew_for_every_batch_and_goes_back_with_torchs_random_numbers() -> None:
    inputs = disc(n=2)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second = (Augmentation(strength=1)(inputs).images for _ in range(2))
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(Augmentation(strength=1)(inputs).images, first)


def test_a_grid_without_changes_is_pytorchs_own() -> None:
    theta = torch.tensor([[[0.9, -0.3, 0.1], [0.2, 1.1, -0.2]]])
    knots = torch.zeros(1, 2, 6, 6)
    found = augmentation._grid(torch.Size((1, 1, 40, 40)), theta, knots)
    expected = functional.affine_grid(theta, [1, 1, 40, 40], align_corners=False)
    torch.testing.assert_close(found, expected)
