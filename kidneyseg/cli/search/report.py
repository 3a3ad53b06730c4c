"""`kidneyseg-search report`: a study as one page."""

from pathlib import Path
from typing import Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import machine_choices, storage_address


def report(
    study: options.Study,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="The page to write.")],
    pseudonyms: Annotated[
        bool, typer.Option("--pseudonyms", help="Write pseudonyms for the names of cases.")
    ] = False,
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="Leave out slices of scans.")
    ] = False,
    storage: options.Storage = None,
    environment: options.EnvironmentName = "local",
    set_: options.MachineSet = None,
) -> None:
    """Write one self-contained page: question, answer, figures, and where they come from.

    Example: kidneyseg-search report --study lr_loss --out report.html
    """
    from kidneyseg.cli.search.delete import size_words
    from kidneyseg.search.report.making import Wishes, make_report
    from kidneyseg.search.storage import open_storage

    choices = machine_choices(environment, None, set_)
    opened = open_storage(storage_address(storage, choices.runs), create=False)
    common = choices.environment.common
    wishes = Wishes(
        pseudonyms=pseudonyms or common.pseudonyms, pictures=common.pictures and not no_pictures
    )
    made = make_report(opened, study, common, out, wishes)
    typer.echo(
        f"study {study}: trial {made.best} is the best, validation Dice {made.dice:.4f}; written "
        f"to {out} ({size_words(made.size_bytes)})"
    )
