"""`[limits]` of a study file."""

from typing import Any

import pytest
from pydantic import ValidationError

from kidneyseg.search.limits import Limits


def test_nothing_is_limited_but_silence() -> None:
    limits = Limits()
    assert (limits.hours, limits.memory_gb) == (None, None)
    assert limits.silent_hours == 6


@pytest.mark.parametrize("name", ["hours", "memory_gb", "silent_hours"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    for value in (0, -1):
        with pytest.raises(ValidationError, match=f"{name}\n.*greater than 0"):
            Limits.model_validate({name: value})
    assert Limits.model_validate({name: 0.5}).model_dump()[name] == 0.5


@pytest.mark.parametrize("values", [{"hour": 1}, {"hours": "long"}])
def test_anything_else_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Limits.model_validate(values)
