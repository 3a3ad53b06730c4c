"""`--version`: what a report of a problem names first."""

from typing import Annotated

import typer


def _print_versions(asked: bool) -> None:
    if not asked:
        return
    from kidneyseg.provenance import code_fingerprint, library_versions

    versions = library_versions()
    ours = versions.pop("kidneyseg")
    others = ", ".join(f"{name} {version}" for name, version in versions.items())
    typer.echo(f"kidneyseg {ours}, code {code_fingerprint()[:12]} ({others})")
    raise typer.Exit


def version_option(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print this program's version and those of its libraries, and end.",
            is_eager=True,
            callback=_print_versions,
        ),
    ] = False,
) -> None:
    """Give a program of several commands the option `--version`."""
