"""Markdown: tables, and parts of a page that are written between markers."""

import re
from collections.abc import Iterable, Mapping, Sequence

from kidneyseg.errors import SettingsError

PART = re.compile(r"<!-- made of the code: (.+?) -->\n.*?<!-- end -->", re.DOTALL)


def code(text: str) -> str:
    """Text as code, within a cell of a table."""
    return f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar in a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def fill(page: str, parts: Mapping[str, str]) -> str:
    """The page with each part written anew between its markers, the rest as people wrote it.

    Raises SettingsError for a part that the page has no place for, or a place without a part.
    """
    places = PART.findall(page)
    if sorted(places) != sorted(parts):
        raise SettingsError(
            f"places in the page: {', '.join(places)}; expected one for each of {', '.join(parts)}"
        )
    return PART.sub(
        lambda found: f"<!-- made of the code: {found[1]} -->\n\n{parts[found[1]]}\n\n<!-- end -->",
        page,
    )
