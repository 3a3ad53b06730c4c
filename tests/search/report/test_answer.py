"""What a study found, against closed forms, simulation and SciPy's t-interval."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from kidneyseg.errors import StudyError
from kidneyseg.search.report.answer import find_answer
from kidneyseg.search.study_record import StudyRecord

from .conftest import OWN, complete, failed, pruned

BuildRecord = Callable[..., StudyRecord]


@pytest.mark.parametrize("n_cases", [5, 22])
def test_the_interval_is_the_one_that_scipy_finds(build_record: BuildRecord, n_cases: int) -> None:
    dice = np.random.default_rng(3).normal(0.9, 0.01, n_cases)
    of_case = {f"c{k}": float(value) for k, value in enumerate(dice)}
    answer = find_answer(build_record([complete(0, float(dice.mean()), dice_of_case=of_case)]))
    theirs = scipy.stats.t.interval(0.95, n_cases - 1, dice.mean(), scipy.stats.sem(dice))
    assert answer.dice is not None
    assert answer.dice.mean == pytest.approx(dice.mean())
    assert (answer.dice.low, answer.dice.high) == pytest.approx(theirs)


@pytest.mark.parametrize("n_cases", [5, 8, 27])
def test_of_twenty_trials_that_are_as_good_one_is_called_worse(
    build_record: BuildRecord, n_cases: int
) -> None:
    """As many as a 95 % interval may miss, for few cases as for many."""
    drawn = np.random.default_rng(n_cases).normal(0.8, 0.03, (2000, n_cases))
    names = [f"c{k}" for k in range(n_cases)]
    best = complete(0, 0.9, dice_of_case=dict.fromkeys(names, 0.8))
    others = [
        complete(k, 0.8, dice_of_case=dict(zip(names, map(float, row), strict=True)))
        for k, row in enumerate(drawn, 1)
    ]
    answer = find_answer(build_record([best, *others]))
    assert len(answer.alike) / len(others) == pytest.approx(0.95, abs=0.012)


def test_a_dice_s_interval_ends_at_1(build_record: BuildRecord) -> None:
    of_case = dict(zip("abcde", (1.0, 1.0, 1.0, 1.0, 0.9), strict=True))
    answer = find_answer(build_record([complete(0, 0.98, dice_of_case=of_case)]))
    assert answer.dice is not None
    assert answer.dice.high == 1.0


def test_a_difference_that_is_the_same_in_each_case_is_told_apart(
    build_record: BuildRecord,
) -> None:
    answer = find_answer(build_record([complete(0, 0.8), complete(1, 0.81)]))
    behind = answer.behind[0]
    assert (behind.mean, behind.low, behind.high) == pytest.approx((0.01, 0.01, 0.01))
    assert answer.alike == ()


def test_a_difference_that_goes_both_ways_is_not_told_apart(build_record: BuildRecord) -> None:
    mixed = {f"case_{k}": 0.8 + offset for k, offset in enumerate((-0.1, 0.1, 0.0, -0.1, 0.1))}
    trials = [complete(0, 0.8), complete(1, 0.8 - 1e-9, dice_of_case=mixed)]
    assert find_answer(build_record(trials)).alike == (1,)


def test_copies_and_trials_on_other_cases_are_not_compared(build_record: BuildRecord) -> None:
    trials = [
        complete(0, 0.9),
        complete(1, 0.9, copy_of=0),
        complete(2, 0.8, dice_of_case={"other": 0.8, "another": 0.8}),
        complete(3, 0.85),
    ]
    answer = find_answer(build_record(trials))
    assert answer.best.number == 0
    assert list(answer.behind) == [3]


def test_the_report_s_own_values_come_before_a_start_point(build_record: BuildRecord) -> None:
    start = {"learning_rate": 0.01, "beta": 0.5}
    trials = [complete(0, 0.8, params=start), complete(1, 0.82, params=OWN), complete(2, 0.9)]
    reference = find_answer(build_record(trials, start_points=(start,))).reference
    assert reference is not None
    assert (reference.trial.number, reference.name) == (1, "the report's own values")


def test_without_them_the_start_point_is_the_reference(build_record: BuildRecord) -> None:
    start = {"learning_rate": 0.01}
    trials = [complete(0, 0.8, params={**start, "beta": 3.0}), complete(1, 0.9)]
    answer = find_answer(build_record(trials, start_points=(start,)))
    assert answer.reference is not None
    assert (answer.reference.trial.number, answer.reference.name) == (0, "the study's start point")
    assert answer.gain_mean == pytest.approx(0.1)


def test_with_neither_no_gain_is_told(build_record: BuildRecord) -> None:
    answer = find_answer(build_record([complete(0, 0.8), complete(1, 0.9)]))
    assert (answer.reference, answer.gain, answer.gain_mean) == (None, None, None)


def test_a_pruned_reference_counts_with_its_best_epoch(build_record: BuildRecord) -> None:
    answer = find_answer(build_record([pruned(0, 0.7, params=OWN), complete(1, 0.9)]))
    assert answer.reference is not None
    assert answer.gain_mean == pytest.approx(0.2)
    assert answer.gain is None  # its cases' Dice is not known


@pytest.mark.parametrize("n_cases", [1, 2, 4])
def test_too_few_cases_give_no_interval(build_record: BuildRecord, n_cases: int) -> None:
    of_case = {f"c{k}": 0.8 + k / 100 for k in range(n_cases)}
    trials = [complete(k, 0.8 + k / 100, dice_of_case=of_case) for k in range(3)]
    answer = find_answer(build_record(trials))
    assert (answer.dice, answer.behind) == (None, {})


def test_a_study_without_a_complete_trial_has_no_answer(build_record: BuildRecord) -> None:
    record = build_record([pruned(0, 0.5), failed(1, "failed: no memory")])
    with pytest.raises(StudyError, match=r"to report \(1 pruned, 1 failed\); run"):
        find_answer(record)


def test_other_names_of_cases_change_no_number(build_record: BuildRecord) -> None:
    random = np.random.default_rng(0)
    trials = [
        complete(k, 0.9 - k / 100, dice_of_case={f"c{n}": float(random.random()) for n in range(9)})
        for k in range(2)
    ]
    names = [f"x{n}" for n in reversed(range(9))]
    renamed = [
        replace(trial, dice_of_case=dict(zip(names, trial.dice_of_case.values(), strict=True)))
        for trial in trials
    ]
    one, other = (find_answer(build_record(each)) for each in (trials, renamed))
    assert (one.dice, one.behind) == (other.dice, other.behind)
