"""HTML in which no text can become markup: what is not `Markup` is escaped where it is put in."""

from collections.abc import Iterable, Sequence
from html import escape


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


def plain(text: str) -> Markup:
    """Text as HTML; HTML as it is."""
    return text if isinstance(text, Markup) else Markup(escape(text, quote=True))


def join(parts: Iterable[str]) -> Markup:
    """HTML of parts, one below the other."""
    return Markup("\n".join(map(plain, parts)))


def tag(name: str, *content: str, **attributes: str) -> Markup:
    """An element; `class_` is its class, and `aria_label` its aria-label."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value, quote=True)}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{given}>{''.join(map(plain, content))}</{name}>")


def image(src: str, alt: str) -> Markup:
    """A picture."""
    return Markup(f'<img src="{escape(src, quote=True)}" alt="{escape(alt, quote=True)}">')


def section(title: str, anchor: str, *content: str) -> Markup:
    """A section with its heading."""
    return tag("section", tag("h2", title), *content, id=anchor)


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, below: int = 0
) -> Markup:
    """A table, scrolled sideways where it is wider than the page; the first column names rows.

    On a phone the last `below` columns stand on lines of their own, below the others of their row.
    """
    beside = len(head) - below
    heads = tag(
        "tr",
        *(tag("th", each, scope="col") for each in head[:beside]),
        *(tag("th", each, scope="col", class_="below") for each in head[beside:]),
    )
    lines = (_row(row[:beside], zip(head[beside:], row[beside:], strict=True)) for row in rows)
    kind = "pairs" if len(head) == 2 else f"many{' folds' * bool(below)}"
    whole = tag(
        "table", tag("caption", caption), tag("thead", heads), tag("tbody", *lines), class_=kind
    )
    return tag("div", whole, class_="wide", tabindex="0", role="region", aria_label=caption)


def _row(beside: Sequence[str], below: Iterable[tuple[str, str]]) -> Markup:
    """A row's cells, and those below them on a phone with the heads of their columns."""
    return tag(
        "tr",
        tag("th", beside[0], scope="row"),
        *(tag("td", cell) for cell in beside[1:]),
        *(tag("td", cell, class_="below", data_head=head) for head, cell in below),
    )


def details(summary: str, *content: str) -> Markup:
    """What is folded away on a screen, and open on paper."""
    return tag("details", tag("summary", summary), *content)
