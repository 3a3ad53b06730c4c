"""A table row for every key that people write."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from kidneyseg.errors import SettingsError
from kidneyseg.reference.fields import field_row
from kidneyseg.settings import Fraction, Part


class Example(Part):
    """A part of a file."""

    folder: Path | None = None
    """Where it lies,
    in two lines."""
    count: int = Field(default=3, ge=1, le=16)
    """How many."""
    share: Fraction = 1 / 3
    """How much."""
    size: tuple[int, int]
    """Rows and columns."""
    names: tuple[str, ...] = ()
    """All of them."""
    kind: Literal["a", "b"] = "a"
    """Which one."""
    fast: bool = False
    """Whether."""


class Untold(Part):
    """A part whose key nobody explained."""

    size: int = 1


ROWS = [
    ("folder", "path", "none", "Where it lies, in two lines."),
    ("count", "whole number, from 1, up to 16", "`3`", "How many."),
    ("share", "number, above 0, below 1", "`0.3333`", "How much."),
    ("size", "list of 2 whole numbers", "must be given", "Rows and columns."),
    ("names", "list of texts", "`[]`", "All of them."),
    ("kind", '`"a"` or `"b"`', '`"a"`', "Which one."),
    ("fast", "yes or no", "`false`", "Whether."),
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_tells_values_default_and_meaning(row: tuple[str, ...]) -> None:
    assert field_row(Example, row[0], Example.model_fields[row[0]]) == (f"`{row[0]}`", *row[1:])


def test_a_key_without_a_meaning_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"Untold.size has no meaning; expected a docstring"):
        field_row(Untold, "size", Untold.model_fields["size"])
