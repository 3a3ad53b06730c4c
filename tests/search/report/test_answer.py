"""What a study found, against closed forms and SciPy's bootstrap."""

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


def test_the_interval_is_the_one_that_scipy_finds(build_record: BuildRecord) -> None:
    dice = np.random.default_rng(3).normal(0.9, 0.03, 22)
    of_case = {f"c{k}": float(value) for k, value in enumerate(dice)}
    answer = find_answer(build_record([complete(0, float(dice.mean()), dice_of_case=of_case)]))
    theirs = scipy.stats.bootstrap(
        (dice,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert answer.dice is not None
    assert answer.dice.mean == pytest.approx(dice.mean())
    assert (answer.dice.low, answer.dice.high) == pytest.approx((theirs.low, theirs.high), abs=5e-4)


def test_a_difference_that_is_the_same_in_each_case_is_told_apart(
    build_record: BuildRecord,
) -> None:
    answer = find_answer(build_record([complete(0, 0.8), complete(1, 0.81)]))
    behind = answer.behind[0]
    assert (behind.mean, behind.low, behind.high) == pytest.approx((0.01, 0.01, 0.01))
    assert answer.alike == ()


def test_a_difference_that_goes_both_ways_is_not_told_apart(build_record: BuildRecord) -> None:
    mixed = {"case_0": 0.7, "case_1": 0.9, "case_2": 0.8 - 1e-9}
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


def test_one_case_gives_no_interval(build_record: BuildRecord) -> None:
    trials = [complete(k, 0.8 + k / 100, dice_of_case={"a": 0.8}) for k in range(3)]
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
