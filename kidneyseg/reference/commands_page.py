"""docs/commands.md: every command of both programs, with its options."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from kidneyseg.cli.data.app import app as kidneyseg
from kidneyseg.cli.search.app import app as kidneyseg_search
from kidneyseg.reference.markdown import code, table

PROGRAMS = {"kidneyseg-search": kidneyseg_search, "kidneyseg": kidneyseg}
NOT_RUN = "<!-- not run: an example of --help; README.md and the how-tos run the command -->"
HEAD = """\
# Commands

Every command of both programs with its options, as `--help` tells them. This page is made of
the code by `make docs`. `--debug`, with any command, shows the traceback of an error. Exit codes: 0
done, 1 the work failed, 2 something to put right before it starts, 130 after Ctrl-C, 143 after
SIGTERM.
"""


def commands_page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for name in PROGRAMS for line in _program(name))])


def _program(name: str) -> Iterator[str]:
    command: Any = typer.main.get_command(PROGRAMS[name])
    yield f"## {name}\n\n{command.help}\n"
    for each, inner in command.commands.items():
        yield f"### {name} {each}\n"
        yield f"{_help(inner)}\n"
        context = inner.make_context(each, [], resilient_parsing=True)
        rows = (_row(parameter, context) for parameter in inner.params)
        yield table(("option", "meaning"), rows) + "\n"


def _help(command: Any) -> str:
    """A command's help; its example as a block of its own."""
    words, _, example = inspect.cleandoc(command.help).partition("Example: ")
    return f"{words.strip()}\n\n{NOT_RUN}\n```sh\n{example.strip()}\n```"


def _row(parameter: Any, context: Any) -> tuple[str, str]:
    """An option as `--help` has it: with its kind of value, what it means, its default."""
    option, meaning = parameter.get_help_record(context)
    return code(option), " ".join(meaning.split())
