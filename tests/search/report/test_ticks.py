from typing import Any

import pytest
from pydantic import TypeAdapter

from kidneyseg.search.ranges import Range
from kidneyseg.search.report.ticks import AnyRange, ticks


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "float", "low": 1e-4, "high": 1e-2, "log": True}, [1e-4, 1e-3, 1e-2]),
        ({"type": "float", "low": 1e-3, "high": 1e-2, "log": True}, [1e-3, 0.002, 0.005, 1e-2]),
        ({"type": "float", "low": 0.0, "high": 0.5}, [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ({"type": "float", "low": 0.1, "high": 1.0}, [0.1, 0.4, 0.6, 0.8, 1.0]),
        ({"type": "float", "low": 2.0, "high": 2.0}, [2.0]),
        ({"type": "int", "low": 1, "high": 5}, [1, 2, 3, 4, 5]),
        ({"type": "int", "low": 4, "high": 64, "log": True}, [4, 10, 20, 64]),
        ({"type": "categorical", "choices": ["a", "b"]}, ["a", "b"]),
    ],
)
def test_axes_have_round_values_and_their_ends(given: Any, expected: list[Any]) -> None:
    range_: AnyRange = TypeAdapter(Range).validate_python(given)
    assert ticks(range_) == pytest.approx(expected)


def test_whole_numbers_with_steps_keep_to_them() -> None:
    given = {"type": "int", "low": 8, "high": 512, "step": 8}
    range_: AnyRange = TypeAdapter(Range).validate_python(given)
    found = ticks(range_)
    assert found[0] == 8
    assert found[-1] == 512
    assert all(isinstance(value, int) and value % 8 == 0 for value in found)
    assert len(found) <= 7


def test_many_decades_have_a_few_powers_of_ten() -> None:
    given = {"type": "float", "low": 1e-9, "high": 1.0, "log": True}
    range_: AnyRange = TypeAdapter(Range).validate_python(given)
    assert len(ticks(range_)) <= 6
