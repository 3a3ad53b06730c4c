"""One range: its values, and what lies at a share of the way through it."""

import math
from typing import Any

import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from pydantic import TypeAdapter, ValidationError

from kidneyseg.search.ranges import Choice, FloatRange, IntRange, Range, contains, flat_names

SHARES = [k / 1000 for k in range(1000)]


def parse(**values: Any) -> FloatRange | IntRange | Choice:
    range_: FloatRange | IntRange | Choice = TypeAdapter(Range).validate_python(values)
    return range_


def test_steps_are_decimal() -> None:
    """In binary, 0.1 + 2 x 0.1 is 0.30000000000000004."""
    steps = parse(type="float", low=0.1, high=0.5, step=0.1)
    assert steps.values() == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert all(contains(steps, value) for value in steps.values() or ())
    assert not contains(steps, 0.25)


def test_values_that_can_be_counted_are() -> None:
    assert list(parse(type="int", low=3, high=7, step=2).values() or ()) == [3, 5, 7]
    assert list(parse(type="int", low=2, high=5, log=True).values() or ()) == [2, 3, 4, 5]
    assert parse(type="categorical", choices=["a", 2]).values() == ("a", 2)
    assert parse(type="float", low=0.5, high=0.5).values() == (0.5,)
    assert parse(type="float", low=0.5, high=0.6).values() is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"type": "int", "low": 3, "high": 8, "step": 2}, "high 8: expected low 3 plus a multiple"),
        ({"type": "float", "low": 0, "high": 1, "step": 0.3}, "plus a multiple of step 0.3"),
        ({"type": "categorical", "choices": [1, 2, 1.0]}, "expected each of them once"),
    ],
)
def test_values_that_would_never_be_drawn_or_twice_are_refused(
    values: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValidationError, match=expected):
        parse(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"type": "int", "low": 3, "high": 7, "step": 2},
        {"type": "float", "low": 0, "high": 0.5, "step": 0.1},
        {"type": "categorical", "choices": ["a", "b", "c", "d"]},
        {"type": "int", "low": 4, "high": 4},
    ],
)
def test_shares_are_dealt_evenly_over_values_that_can_be_counted(values: dict[str, Any]) -> None:
    range_ = parse(**values)
    counts = dict.fromkeys(range_.values() or (), 0)
    for share in SHARES:
        counts[range_.at(share)] += 1
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_share_of_a_real_range_is_a_place_between_its_ends() -> None:
    assert parse(type="float", low=-1, high=3).at(0.25) == 0
    log = parse(type="float", low=1e-4, high=1e-2, log=True)
    assert log.at(0) == pytest.approx(1e-4)
    assert log.at(0.5) == pytest.approx(1e-3)
    assert all(contains(log, log.at(share)) for share in [*SHARES, 1 - 2**-53])


def test_whole_numbers_on_a_log_scale_are_as_frequent_as_optuna_has_them() -> None:
    """Number k has the share log((k + 1/2) / (k - 1/2)) of log((high + 1/2) / (low - 1/2))."""
    log = parse(type="int", low=2, high=9, log=True)
    assert log.distribution() == IntDistribution(2, 9, log=True)
    found = [log.at((k + 0.5) / 1000) for k in range(1000)]
    for number in range(2, 10):
        expected = math.log((number + 0.5) / (number - 0.5)) / math.log(9.5 / 1.5)
        assert found.count(number) / 1000 == pytest.approx(expected, abs=2e-3)


def test_conditions_hold_where_every_value_is_as_named() -> None:
    range_ = parse(type="int", low=1, high=2, only_if={"network": {"filters": 8}, "beta": 0.5})
    assert range_.only_if == {"network.filters": 8, "beta": 0.5}
    assert range_.applies({"network.filters": 8, "beta": 0.5, "alpha": 1})
    assert not range_.applies({"network.filters": 16, "beta": 0.5})
    assert not range_.applies({"beta": 0.5})


def test_names_of_network_settings_are_dotted_however_toml_reads_them() -> None:
    nested = {"network": {"filters": 8}, "beta": 1}
    assert flat_names(nested) == flat_names({"network.filters": 8, "beta": 1})
    assert flat_names({"network": 3}) == {"network": 3}
    assert flat_names("text") == "text"


def test_ranges_are_optunas() -> None:
    assert parse(type="float", low=0, high=1, step=0.5).distribution() == FloatDistribution(
        0, 1, step=0.5
    )
