"""The report page as one HTML file that needs nothing beside it, and the file's own safety."""

import base64
import hashlib
import json
from collections.abc import Iterator
from importlib.resources import files
from itertools import count
from pathlib import Path

from plotly.offline import get_plotlyjs

from kidneyseg import __version__
from kidneyseg.errors import CorrectableError
from kidneyseg.files import replacing
from kidneyseg.search.report.chapters import Chapter, Material, chapters
from kidneyseg.search.report.figure import Figure, Spec
from kidneyseg.search.report.markup import Markup, join, plain, section, tag

GENERATOR = '<meta name="generator" content="kidneyseg report">'  # a page of ours is known by it

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{generator}
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}
<script>{library}</script>
<script>{script}</script>
</body>
</html>
"""


def check_place(path: Path) -> None:
    """Refuse to write a page where something else lies. Raises CorrectableError."""
    if path.is_dir():
        raise CorrectableError(f"{path}: is a folder; expected the name of a file")
    if not path.exists():
        return
    with path.open("rb") as file:
        head = file.read(500)
    if head.strip() and GENERATOR.encode() not in head:
        raise CorrectableError(
            f"{path}: holds something else; expected a new file or a report page to replace"
        )


def write_page(material: Material, path: Path) -> int:
    """Write the page, whole or not at all; return its size in bytes.

    Raises CorrectableError for a place that cannot be written or holds something else.
    """
    check_place(path)
    content = build_page(material).encode()
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise CorrectableError(f"{path}: cannot be written ({error.strerror})") from error
    return len(content)


def build_page(material: Material) -> str:
    """The page's HTML."""
    library, script = get_plotlyjs(), _own("figures.js")
    return _PAGE.format(
        generator=GENERATOR,
        policy=_policy(library, script),
        title=plain(f"Study {material.record.name}: report"),
        style=_own("style.css"),
        body=_body(material),
        library=library,
        script=script,
    )


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    """Nothing is fetched, and no script runs but those of the page itself."""
    hashes = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _body(material: Material) -> Markup:
    all_chapters, numbers = chapters(material), count(1)
    sections = [_section(chapter, numbers) for chapter in all_chapters]
    return join([_header(material, all_chapters), tag("main", *sections), _footer(material)])


def _header(material: Material, all_chapters: list[Chapter]) -> Markup:
    status = material.record.status
    far = f"{status.finished} of {status.n_trials} trials finished"
    words = f"Hyper-parameter search for kidney segmentation in CT: {far}, {_made(material)}."
    links = (tag("a", each.title, href=f"#{each.anchor}") for each in all_chapters)
    return tag(
        "header",
        tag("h1", f"Study {material.record.name}"),
        tag("p", words),
        tag("nav", *links, aria_label="Sections"),
        tag("noscript", tag("p", "The figures need JavaScript; words and tables do not.")),
    )


def _made(material: Material) -> str:
    return f"as of {material.made:%Y-%m-%d %H:%M} UTC"


def _footer(material: Material) -> Markup:
    words = f"Made by kidneyseg {__version__} {_made(material)}."
    if material.pseudonyms:
        words += " Cases are named by pseudonyms, which those who hold the key can resolve."
    return tag("footer", tag("p", words))


def _section(chapter: Chapter, numbers: Iterator[int]) -> Markup:
    blocks = (
        _figure(block, next(numbers)) if isinstance(block, Figure) else block
        for block in chapter.blocks
    )
    return section(chapter.title, chapter.anchor, *blocks)


def _figure(figure: Figure, number: int) -> Markup:
    content = [figure.content] if figure.content else []
    if figure.drawings:
        drawn = (_drawing(each, figure) for each in figure.drawings)
        kind = "drawings" if len(figure.drawings) > 1 else "wide"
        content.append(tag("div", *drawn, class_=kind))
    name = tag("b", f"Figure {number}. {figure.title}.")
    return tag("figure", *content, tag("figcaption", name, " ", figure.caption))


def _drawing(spec: Spec, figure: Figure) -> Markup:
    size = f"min-height:{spec['layout']['height']}px;min-width:{figure.min_width_px}px"
    text = json.dumps(spec, allow_nan=False, separators=(",", ":"))
    for character in "<>&":  # in a script element nothing else can end it or begin a comment
        text = text.replace(character, f"\\u{ord(character):04x}")
    data = Markup(f'<script type="application/json">{text}</script>')
    return tag("div", data, class_="drawing", style=size, role="img", aria_label=figure.title)
