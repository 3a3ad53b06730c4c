"""Commands of ours as files elsewhere write them, parsed by the real programs."""

import re
import shlex
from pathlib import Path

import typer

from kidneyseg.cli.data.app import app as kidneyseg
from kidneyseg.cli.search.app import app as kidneyseg_search

ROOT = Path(__file__).parent.parent.parent
DOCKER = ROOT / "docker"
PROGRAMS = {"kidneyseg": kidneyseg, "kidneyseg-search": kidneyseg_search}


def parse(command: str | list[str]) -> str:
    """Parse a command: every option exists, and its value is of its kind. Nothing is run.

    It returns the command's name; what is wrong is raised.
    """
    words = shlex.split(command) if isinstance(command, str) else command
    program, name, *arguments = words
    commands = typer.main.get_command(PROGRAMS[program]).commands  # type: ignore[attr-defined]
    assert name in commands, words
    commands[name].make_context(name, arguments)
    return str(name)


def our_commands(text: str) -> list[str]:
    """Every command of our programs in shell code: joined where a line goes on, no comments."""
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    code = "\n".join(line for line in joined.splitlines() if not line.lstrip().startswith("#"))
    found = re.findall(r"(?:^|\s)(kidneyseg(?:-search)? (?!kidneyseg)[a-z].*)$", code, re.MULTILINE)
    return [re.split(r"\s+[&|#>]|&&", line)[0].strip() for line in found]


def shell_blocks(document: Path) -> str:
    """The shell code of a document."""
    return "\n".join(
        re.findall(r"```sh\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    )
