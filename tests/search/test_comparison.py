"""Candidates are told apart where they differ, and not where they do not."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from kidneyseg.search.comparison import compare


def draw(
    random: np.random.Generator, mean: float, seeds: int = 3, cases: int = 22, noise: float = 0.01
) -> NDArray[np.float64]:
    """Dice of (seeds, cases): a mean, what each case is like, what each seed adds."""
    of_case = np.linspace(-0.1, 0.1, cases)
    return mean + of_case + random.normal(0, noise, (seeds, 1))


def test_a_large_difference_is_told_and_its_size_is_the_difference_of_the_means() -> None:
    random = np.random.default_rng(0)
    first, second = draw(random, 0.9), draw(random, 0.7)
    better, worse = compare([first, second])
    assert better.dice.mean == pytest.approx(first.mean(), abs=1e-12)
    assert (better.behind.mean, better.is_told_apart) == (0.0, False)
    assert worse.behind.mean == pytest.approx(first.mean() - second.mean(), abs=1e-12)
    assert worse.behind.low < worse.behind.mean < worse.behind.high
    assert worse.is_told_apart


def test_what_is_common_to_all_cases_does_not_blur_a_comparison() -> None:
    """Cases differ by 0.2 in Dice; a difference of 0.03 on every one of them is still seen."""
    random = np.random.default_rng(1)
    first, second = draw(random, 0.83, noise=0.002), draw(random, 0.80, noise=0.002)
    better, worse = compare([first, second])
    assert better.dice.high - better.dice.low > 0.03
    assert worse.is_told_apart


def test_equal_candidates_are_seldom_told_apart() -> None:
    """With seeds' noise alone: 5 % of the time, give or take what 200 tries scatter by."""
    told = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        standings = compare([draw(random, 0.8), draw(random, 0.8)], seed)
        told += any(standing.is_told_apart for standing in standings)
    # Six noisy seeds make percentile intervals a little short: 12 % is the most that is tolerated.
    assert stats.binom.sf(told, 200, 0.12) > 0.001


def test_an_interval_of_many_seeds_and_cases_is_the_normal_one() -> None:
    random = np.random.default_rng(2)
    dice = 0.8 + random.normal(0, 0.05, (1, 200)) + random.normal(0, 0.02, (50, 1))
    [standing] = compare([dice])
    error = np.sqrt(0.05**2 / 200 + 0.02**2 / 50)
    assert standing.dice.high - standing.dice.low == pytest.approx(2 * 1.96 * error, rel=0.2)


def test_the_same_seed_gives_the_same_intervals() -> None:
    random = np.random.default_rng(3)
    dice = [draw(random, 0.8), draw(random, 0.81)]
    assert compare(dice, 7) == compare(dice, 7)
    assert compare(dice, 7) != compare(dice, 8)
