"""Rises of the validation loss in a row."""

import math

from kidneyseg.training.stopping import LossRises


def rises(losses: list[float]) -> list[int]:
    counted = LossRises()
    return [counted.add(loss) for loss in losses]


def test_the_reports_run_rises_at_epochs_5_and_6_and_patience_2_ends_it_there() -> None:
    in_a_row = rises([0.9, 0.7, 0.5, 0.4, 0.45, 0.46])
    assert in_a_row == [0, 0, 0, 0, 1, 2]
    assert in_a_row.index(2) + 1 == 6


def test_a_fall_or_an_equal_loss_begins_anew() -> None:
    assert rises([1.0, 1.1, 1.05, 1.06, 1.06, 1.07]) == [0, 1, 0, 1, 0, 1]


def test_a_rise_is_over_the_epoch_before_and_not_over_the_best() -> None:
    assert rises([0.1, 0.9, 0.8, 0.7]) == [0, 1, 0, 0]


def test_infinity_is_a_rise() -> None:
    assert rises([1.0, math.inf]) == [0, 1]
