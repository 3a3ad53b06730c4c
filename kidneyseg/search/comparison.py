"""Candidates trained with several seeds, compared: who is best, and who cannot be told from it.

Two things make a validation Dice uncertain: which cases there are, and which seed trained the
network. Cases are drawn with replacement, the same for all candidates, for each is compared with
each on the same cases. What a seed adds to a candidate's mean is drawn from what the seeds of all
candidates added: three seeds of one alone would understate it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_DRAWS = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and the bootstrap's percentile interval around it."""

    mean: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        """Whether the interval reaches zero: no difference was shown."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One candidate among the others."""

    dice: Interval  # over cases and seeds
    behind: Interval  # the winner's Dice minus its own; zero for the winner itself

    @property
    def is_told_apart(self) -> bool:
        """Whether it is shown to be worse than the winner."""
        return not self.behind.holds_zero


def compare(
    dice: Sequence[NDArray[np.float64]],  # of each candidate (seeds, cases), the same cases for all
    seed: int = 0,
) -> list[Standing]:
    """Where each candidate stands; the same seed gives the same intervals.

    Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13: percentile
    intervals. The seeds' shares are scaled by sqrt(S / (S - 1)), as residuals are (chapter 9).
    Needs two seeds and two cases of each.
    """
    random = np.random.default_rng(seed)
    n_cases = dice[0].shape[1]
    cases = random.integers(n_cases, size=(N_DRAWS, n_cases))
    means = np.array([each.mean() for each in dice])
    of_case = [each.mean(axis=0) for each in dice]  # (cases,)
    residuals = np.concatenate([_seed_residuals(each) for each in dice])
    drawn = np.array(
        [
            per_case[cases].mean(axis=1)
            + random.choice(residuals, size=(N_DRAWS, len(each))).mean(axis=1)
            for per_case, each in zip(of_case, dice, strict=True)
        ]
    )  # (candidates, draws)
    winner = int(means.argmax())
    return [
        Standing(
            dice=_interval(mean, draws),
            behind=Interval(mean=0.0, low=0.0, high=0.0)
            if number == winner
            else _interval(means[winner] - mean, drawn[winner] - draws),
        )
        for number, (mean, draws) in enumerate(zip(means, drawn, strict=True))
    ]


def _seed_residuals(dice: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each seed added to the candidate's mean, scaled to the seeds' own spread."""
    of_seed = dice.mean(axis=1)
    n = len(of_seed)
    residuals: NDArray[np.float64] = (of_seed - of_seed.mean()) * np.sqrt(n / (n - 1))
    return residuals


def _interval(mean: float, draws: NDArray[np.float64]) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return Interval(mean=float(mean), low=float(low), high=float(high))
