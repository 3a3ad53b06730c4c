"""`kidneyseg-search status`: how far studies are."""

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices, storage_address


def status(
    study: Annotated[
        str | None, typer.Option(help="Name in the database. Default: every study.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds.")
    ] = False,
    as_json: options.Json = False,
    storage: options.Storage = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Show trials by state, the best so far, and who works on what.

    Example: kidneyseg-search status --study lr_loss --watch
    """
    from kidneyseg.cli.status_text import status_text
    from kidneyseg.search.status import read_status
    from kidneyseg.search.storage import open_storage
    from kidneyseg.search.studies import study_names

    runs = Choices(environment, None, []).runs
    opened = open_storage(storage_address(storage, runs), create=False)
    while True:
        found = [read_status(opened, each) for each in ([study] if study else study_names(opened))]
        if as_json:
            documents = [asdict(each) for each in found]
            typer.echo(json.dumps(documents[0] if study else documents))
        else:
            typer.echo("\n\n".join(status_text(each) for each in found) or "no study yet")
        if not watch:
            return
        time.sleep(2)
        if not as_json:
            typer.echo()
