"""What figures say over cases: their middle, their spread, and how sure either is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 0  # the same figures give the same interval
AT_ONCE = 2**22  # numbers drawn at a time
N_WORST = 5

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Figures of many cases in a few; None where one case alone has no spread."""

    n: int
    mean: float
    sd: float | None  # of the sample: divided by n - 1
    median: float
    quartiles: Interval  # the first and the third
    interval: Interval | None  # of the mean: 95 %, by resampling cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two models on the same cases: second - first."""

    n: int
    difference: float  # mean
    interval: Interval | None  # of the mean difference, 95 %, by resampling cases
    p: float  # two-sided, Wilcoxon's signed ranks; 1 where no case differs


def summarize(values: Sequence[float]) -> Summary:
    """Summarize at least one figure."""
    figures = np.array(values, dtype=np.float64)
    first, median, third = (float(q) for q in np.quantile(figures, [0.25, 0.5, 0.75]))
    return Summary(
        n=len(figures),
        mean=float(figures.mean()),
        sd=float(figures.std(ddof=1)) if len(figures) > 1 else None,
        median=median,
        quartiles=(first, third),
        interval=bootstrap_interval(figures),
    )


def compare(first: Mapping[str, float], second: Mapping[str, float]) -> Comparison:
    """Compare two models by a figure of each case, by name; the cases must be the same."""
    differences = np.array([second[name] - first[name] for name in sorted(first)])
    differs = np.abs(differences).max() > 0
    return Comparison(
        n=len(differences),
        difference=float(differences.mean()),
        interval=bootstrap_interval(differences),
        p=float(wilcoxon(differences).pvalue) if differs else 1.0,
    )


def bootstrap_interval(figures: NDArray[np.float64]) -> Interval | None:
    """The interval of the mean that holds 95 % of resampled means (Efron's percentiles).

    None for fewer than two figures.
    """
    if len(figures) < 2:
        return None
    random = np.random.default_rng(SEED)
    rows = max(1, AT_ONCE // len(figures))
    means = np.concatenate(
        [
            figures[random.integers(len(figures), size=(min(rows, left), len(figures)))].mean(1)
            for left in range(RESAMPLES, 0, -rows)
        ]
    )
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def worst(dice_of_case: Mapping[str, float], n: int = N_WORST) -> list[str]:
    """The names of the cases with the lowest Dice, the lowest first."""
    return sorted(dice_of_case, key=lambda name: (dice_of_case[name], name))[:n]


def class_of(value: float, borders: Sequence[float], unit: str) -> str:
    """The name of the class that a value lies in, such as '2 to 4 mm'; borders belong above."""
    place = int(np.searchsorted(borders, value, side="right"))
    if place == 0:
        return f"below {borders[0]:g} {unit}"
    if place == len(borders):
        return f"{borders[-1]:g} {unit} and above"
    return f"{borders[place - 1]:g} to {borders[place]:g} {unit}"
