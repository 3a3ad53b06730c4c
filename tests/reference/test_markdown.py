"""Tables, and parts between markers."""

import pytest

from kidneyseg.errors import SettingsError
from kidneyseg.reference.markdown import fill, table

PAGE = "before\n<!-- made of the code: part -->\nold\n<!-- end -->\nafter\n"


def test_a_part_is_written_anew_and_the_rest_is_left() -> None:
    filled = fill(PAGE, {"part": "new \\1"})
    assert filled.startswith("before\n<!-- made of the code: part -->\n\nnew \\1\n\n<!-- end -->")
    assert filled.endswith("\nafter\n")
    assert fill(filled, {"part": "new \\1"}) == filled


@pytest.mark.parametrize("parts", [{}, {"part": "x", "other": "y"}])
def test_a_place_without_a_part_or_a_part_without_a_place_is_refused(
    parts: dict[str, str],
) -> None:
    with pytest.raises(SettingsError, match="places in the page: part"):
        fill(PAGE, parts)


def test_a_bar_in_a_cell_is_no_border() -> None:
    assert table(["a", "b"], [["x|y", "z"]]) == "| a | b |\n| --- | --- |\n| x\\|y | z |"
