"""`kidneyseg-search dashboard`: browse the trials."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import machine_choices, storage_address


def dashboard(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but 127.0.0.1 needs a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8080,
    user: Annotated[str, typer.Option(help="Name to log in with.")] = "viewer",
    password_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File of the password; else KIDNEYSEG_DASHBOARD_PASSWORD. Neither: no login.",
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate chain (PEM): https.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate's key (PEM).")
    ] = None,
    storage: options.Storage = None,
    environment: options.EnvironmentName = "local",
    set_: options.MachineSet = None,
) -> None:
    """Browse the trials, their curves and pictures in optuna-dashboard, read-only.

    Example: kidneyseg-search dashboard --port 8080
    """
    from kidneyseg.search.artifact_stores import open_artifacts
    from kidneyseg.search.dashboard import PATIENCE_SECONDS, build_server, check_address
    from kidneyseg.search.dashboard_login import find_login
    from kidneyseg.search.dashboard_server import Address, load_certificate
    from kidneyseg.search.storage import open_storage

    login = find_login(user, password_file)
    address = Address(host=host, port=port, tls=load_certificate(tls_certificate, tls_key))
    check_address(address, login)
    chosen = machine_choices(environment, None, set_)
    opened = open_storage(
        storage_address(storage, chosen.runs), create=False, patience_seconds=PATIENCE_SECONDS
    )
    store = open_artifacts(chosen.environment.common, chosen.runs)
    with build_server(opened, store, address, login) as server, suppress(KeyboardInterrupt):
        typer.echo(f"{address.url(server.port)} shows {opened.address}; Ctrl-C ends")
        if address.warning:
            typer.echo(address.warning, err=True)
        server.wait()
