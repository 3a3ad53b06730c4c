"""Dice per volume against a count over whole volumes."""

import numpy as np
import pytest
import torch

from kidneyseg.training.dice import VolumeDice

CPU = torch.device("cpu")


def test_dice_gathered_by_slices_is_that_of_whole_volumes() -> None:
    random = np.random.default_rng(0)
    predicted, truth = random.random((2, 30, 1, 8, 8)) < 0.4
    volumes = random.integers(0, 4, 30)
    counted = VolumeDice(4, CPU)
    for batch in np.array_split(random.permutation(30), [7, 11, 25]):
        counted.add(
            torch.from_numpy(predicted[batch]),
            torch.from_numpy(truth[batch]),
            torch.from_numpy(volumes[batch]),
        )
    for volume, dice in enumerate(counted.per_volume()):
        p, t = predicted[volumes == volume], truth[volumes == volume]
        assert dice == pytest.approx(2 * (p & t).sum() / (p.sum() + t.sum()), abs=1e-12)


def test_both_empty_is_1_and_one_empty_is_0() -> None:
    full, empty = torch.ones(1, 1, 4, 4, dtype=torch.bool), torch.zeros(1, 1, 4, 4) > 0
    dice = VolumeDice(4, CPU)
    pairs = ((empty, empty), (full, empty), (empty, full), (full, full))
    for volume, (predicted, truth) in enumerate(pairs):
        dice.add(predicted, truth, torch.tensor([volume]))
    assert dice.per_volume() == [1, 0, 0, 1]


def test_counts_stay_exact_where_float32_would_not() -> None:
    """2**24 + 1 pixels are more than float32 can count one by one."""
    dice = VolumeDice(1, CPU)
    many = torch.ones(1, 1, 4096, 4096, dtype=torch.bool)
    one = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    volume = torch.tensor([0])
    dice.add(many, many, volume)
    dice.add(one, ~one, volume)
    n = 4096 * 4096
    assert dice.per_volume() == [2 * n / (2 * n + 1)]
