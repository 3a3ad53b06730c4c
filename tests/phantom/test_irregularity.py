"""Random fields have the size they were asked for and do not depend on the grid."""

import numpy as np
import pytest

from kidneyseg.phantom.irregularity import random_waves


def test_a_field_has_the_standard_deviation_it_was_asked_for() -> None:
    waves = random_waves(np.random.default_rng(0), 12, (6.0, 30.0), 2.5)
    line = np.arange(0, 400, dtype=np.float32)
    assert waves.on_plane(10.0, line, line).std() == pytest.approx(2.5, rel=0.1)


def test_a_plane_holds_the_sum_of_cosines_at_its_points() -> None:
    waves = random_waves(np.random.default_rng(1), 5, (20.0, 90.0), 1.0)
    rows, columns = np.array([-3, 1, 40], np.float32), np.array([5, 9], np.float32)
    plane = waves.on_plane(7.0, rows, columns)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            angles = waves.frequencies @ (7.0, row, column) + waves.phases
            assert plane[i, j] == pytest.approx(waves.amplitude * np.cos(angles).sum(), abs=1e-5)


def test_single_points_and_planes_agree() -> None:
    waves = random_waves(np.random.default_rng(2), 4, (110.0, 260.0), 2.2)
    line = np.array([-50, 0, 80], np.float32)
    points = np.array([(12.0, row, column) for row in line for column in line])
    plane = waves.on_plane(12.0, line, line)
    np.testing.assert_allclose(waves.at(points).reshape(3, 3), plane, atol=1e-5)
