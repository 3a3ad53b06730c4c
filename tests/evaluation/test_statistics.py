"""Statistics: against numpy, scipy and what can be worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from kidneyseg.evaluation.statistics import (
    bootstrap_interval,
    class_of,
    compare,
    summarize,
    worst,
)

FIGURES = np.random.default_rng(0).beta(18, 2, 27)


def test_a_summary_has_mean_spread_and_quartiles() -> None:
    summary = summarize([1.0, 2.0, 3.0, 4.0, 10.0])
    assert (summary.n, summary.mean, summary.median) == (5, 4.0, 3.0)
    assert summary.quartiles == (2.0, 4.0)
    assert summary.sd == pytest.approx(np.sqrt((9 + 4 + 1 + 0 + 36) / 4))


def test_one_case_has_no_spread() -> None:
    summary = summarize([0.9])
    assert (summary.mean, summary.median, summary.quartiles) == (0.9, 0.9, (0.9, 0.9))
    assert summary.sd is None
    assert summary.interval is None


def test_the_interval_is_that_of_scipys_bootstrap() -> None:
    result = stats.bootstrap(
        (FIGURES,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    )
    expected = result.confidence_interval
    assert bootstrap_interval(FIGURES) == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_the_same_figures_give_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    once = bootstrap_interval(FIGURES)
    assert bootstrap_interval(FIGURES.copy()) == once
    monkeypatch.setattr("kidneyseg.evaluation.statistics.AT_ONCE", 27 * 10_000)
    assert bootstrap_interval(FIGURES) == once


def test_equal_figures_have_an_interval_of_no_width() -> None:
    assert bootstrap_interval(np.full(9, 0.5)) == (0.5, 0.5)


def test_two_models_are_compared_case_by_case() -> None:
    first = {f"case_{i}": value for i, value in enumerate(FIGURES)}
    gains = np.random.default_rng(2).normal(0.02, 0.03, 27)
    second = {name: first[name] + gains[int(name[5:])] for name in reversed(first)}
    compared = compare(first, second)
    assert compared.difference == pytest.approx(gains.mean())
    assert compared.p == pytest.approx(stats.wilcoxon(gains).pvalue, rel=1e-6)
    assert compared.interval is not None
    assert compared.interval[0] < compared.difference < compared.interval[1]


def test_a_model_does_not_differ_from_itself() -> None:
    figures = {"a": 0.5, "b": 0.7}
    compared = compare(figures, figures)
    assert (compared.difference, compared.interval, compared.p) == (0.0, (0.0, 0.0), 1.0)


def test_six_gains_of_six_are_the_least_that_wilcoxon_can_tell() -> None:
    first = {str(i): 0.0 for i in range(6)}
    second = {str(i): 0.1 + 0.01 * i for i in range(6)}
    assert compare(first, second).p == pytest.approx(2 / 2**6)


def test_the_worst_come_first() -> None:
    figures = {"e": 0.9, "d": 0.1, "c": 0.3, "b": 0.3, "a": 0.8, "f": 0.95}
    assert worst(figures) == ["d", "b", "c", "a", "e"]


@pytest.mark.parametrize(
    ("value", "name"),
    [(0.5, "below 2 mm"), (2.0, "2 to 4 mm"), (3.9, "2 to 4 mm"), (5.0, "4 mm and above")],
)
def test_classes_have_names(value: float, name: str) -> None:
    assert class_of(value, (2.0, 4.0), "mm") == name
