"""The documents keep to what the program has: settings, commands, options, links."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from kidneyseg.cli.data.app import app as kidneyseg
from kidneyseg.cli.search.app import app as kidneyseg_search
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.settings import Environment

ROOT = Path(__file__).parent.parent
PROGRAMS = {"kidneyseg": kidneyseg, "kidneyseg-search": kidneyseg_search}
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| .+ \|$", re.MULTILINE)


def documented(heading: str) -> dict[str, str]:
    """The rows of docs/settings.md below a heading: key and default."""
    text = (ROOT / "docs" / "settings.md").read_text()
    section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return dict(ROW.findall(section))


def parts() -> list[tuple[str, type[BaseModel]]]:
    """Headings of docs/settings.md and the parts that they describe."""
    named: list[tuple[str, type[BaseModel]]] = []
    for name, field in Environment.model_fields.items():
        assert isinstance(field.annotation, type)
        named.append((f"`[{name}]`", field.annotation))
    return [*named, ("Hyper-parameters", Hyperparameters)]


@pytest.mark.parametrize(("heading", "part"), parts())
def test_every_setting_is_documented_with_its_default(heading: str, part: type[BaseModel]) -> None:
    rows = documented(heading)
    assert list(rows) == list(part.model_fields)
    for name, field in part.model_fields.items():
        if field.is_required() or field.default is None:
            continue
        assert rows[name].startswith("`"), name
        assert plain(rows[name].strip("`")) == plain(field.default), name


def plain(value: Any) -> str:
    """A default as text, however it is written."""
    text = str(list(value) if isinstance(value, tuple) else value)
    return text.strip('"')


def command_lines() -> list[tuple[str, str]]:
    """Every line of our programs in a code block of a document."""
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL):
            lines = [line.split(" #")[0].strip() for line in block.splitlines()]
            found += [(document.name, line) for line in lines if line.split(" ")[0] in PROGRAMS]
    return found


@pytest.mark.parametrize(("document", "line"), command_lines())
def test_every_command_in_the_documents_exists_with_its_options(document: str, line: str) -> None:
    program, command, *arguments = shlex.split(line)
    commands = typer.main.get_command(PROGRAMS[program]).commands  # type: ignore[attr-defined]
    assert command in commands, f"{document}: {line}"
    known = {option for parameter in commands[command].params for option in parameter.opts}
    given = {argument.split("=")[0] for argument in arguments if argument.startswith("-")}
    assert given <= known, f"{document}: {line}"


def test_the_documents_hold_commands() -> None:
    assert len(command_lines()) >= 8


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_architecture_stays_below_a_hundred_lines() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) < 100


def architecture_paths() -> list[str]:
    """What ARCHITECTURE.md names that is a file or a folder."""
    named = re.findall(r"`([\w./*-]+)`", (ROOT / "ARCHITECTURE.md").read_text())
    return sorted({name for name in named if re.search(r"/|\.(py|md|toml)$", name)})


@pytest.mark.parametrize("name", architecture_paths())
def test_what_architecture_names_exists(name: str) -> None:
    """Below the package or the root; a name without a folder stands beside one with it."""
    below = [*ROOT.glob(f"kidneyseg/{name}"), *ROOT.glob(name)]
    beside = [] if "/" in name else list(ROOT.glob(f"kidneyseg/**/{name}"))
    assert [path for path in (*below, *beside) if path.is_dir() or not name.endswith("/")]


def test_architecture_names_files_and_folders() -> None:
    assert {"cli/search/", "ct/splits.py", "pyproject.toml"} <= set(architecture_paths())
