"""`kidneyseg-search dashboard`: browse the trials."""

from contextlib import suppress
from typing import Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices, storage_address


def dashboard(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8080,
    storage: options.Storage = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Browse the trials in optuna-dashboard, on this machine, read-only.

    Example: kidneyseg-search dashboard --port 8080
    """
    from kidneyseg.search.dashboard import build_server, check_host
    from kidneyseg.search.storage import open_storage

    check_host(host, port)
    runs = Choices(environment, None, []).runs
    opened = open_storage(storage_address(storage, runs), create=False)
    with build_server(opened, host, port) as server:
        typer.echo(f"http://127.0.0.1:{server.server_port}/ shows {opened.address}; Ctrl-C ends")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
