"""`kidneyseg-search status`: how far studies are."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.completion import complete_begun_studies
from kidneyseg.cli.options import machine_choices, storage_address
from kidneyseg.errors import ExitCode, StorageLostError

if TYPE_CHECKING:
    from kidneyseg.search.study_status import StudyStatus

WATCH_SECONDS = 2.0


def status(
    study: Annotated[
        str | None,
        typer.Option(
            help="Name in the database. Default: every study.",
            autocompletion=complete_begun_studies,
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds, until Ctrl-C.")
    ] = False,
    as_json: options.Json = False,
    storage: options.Storage = None,
    environment: options.EnvironmentName = "local",
    set_: options.MachineSet = None,
) -> None:
    """Show trials by state, the best so far, what it cost, and who works on what.

    Example: kidneyseg-search status --study lr_loss --watch
    """
    from kidneyseg.search.status import read_status
    from kidneyseg.search.storage import open_storage
    from kidneyseg.search.studies import study_names

    runs = machine_choices(environment, None, set_).runs
    address = storage_address(storage, runs)
    opened = open_storage(address, create=False, patience_seconds=0)

    def read() -> "list[StudyStatus]":
        return [read_status(opened, each) for each in ([study] if study else study_names(opened))]

    def tell() -> str:
        return _document(read(), one=study is not None) if as_json else _text(read())

    if not watch:
        typer.echo(tell())
        return
    try:
        with _display(plain=as_json) as show:
            _watch(tell, show)
    except KeyboardInterrupt:
        raise SystemExit(ExitCode.INTERRUPTED) from None  # the way to end it: nothing to say


def _text(found: "list[StudyStatus]") -> str:
    from kidneyseg.cli.status_text import status_text

    return "\n\n".join(status_text(each) for each in found) or "no study yet"


def _document(found: "list[StudyStatus]", *, one: bool) -> str:
    documents = [asdict(each) for each in found]
    return json.dumps(documents[0] if one else documents)


def _watch(tell: Callable[[], str], show: Callable[[str], None]) -> None:
    """Show it again and again; a database that is away for a while is told and asked again."""
    last = ""
    while True:
        try:
            last = tell()
            show(last)
        except StorageLostError as error:
            if not last:
                raise
            typer.echo(f"{error}; asking again", err=True)
        time.sleep(WATCH_SECONDS)


@contextmanager
def _display(*, plain: bool) -> Iterator[Callable[[str], None]]:
    """Where the status is shown: in its place in a terminal, else one below the other."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    if plain or not console.is_terminal:
        yield lambda text: typer.echo(text if plain else f"{text}\n")
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda text: live.update(Text(text), refresh=True)
