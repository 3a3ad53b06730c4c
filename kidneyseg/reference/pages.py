"""Which pages are made of the code."""

from pathlib import Path

from kidneyseg.reference.commands_page import commands_page
from kidneyseg.reference.markdown import fill
from kidneyseg.reference.settings_parts import settings_parts


def make_pages(folder: Path) -> dict[Path, str]:
    """The pages, by their place in a folder of documents, as the code has them now."""
    settings = folder / "settings.md"
    return {
        settings: fill(settings.read_text(encoding="utf-8"), settings_parts()),
        folder / "commands.md": commands_page(),
    }
