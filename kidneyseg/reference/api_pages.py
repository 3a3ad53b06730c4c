"""The API's pages from the docstrings, by pdoc."""

from pathlib import Path

import kidneyseg.search

MODULES = ("kidneyseg", "!kidneyseg.reference", "!kidneyseg.search.migrations")


def write_api_pages(folder: Path) -> None:
    """Write a page for every module. Needs pdoc: the dependency group `docs`."""
    import pdoc  # noqa: PLC0415 - of the dependency group `docs`

    for name in kidneyseg.search.__all__:
        getattr(kidneyseg.search, name)  # resolved, pdoc finds it in the module
    pdoc.render.configure(docformat="markdown")
    pdoc.pdoc(*MODULES, output_directory=folder)
