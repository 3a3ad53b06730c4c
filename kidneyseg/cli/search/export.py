"""`kidneyseg-search export`: a trial as a model folder."""

from pathlib import Path
from typing import Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices, storage_address


def export(
    study: options.Study,
    out: Annotated[Path, typer.Option(help="The model folder to write.")],
    trial: Annotated[int | None, typer.Option(help="A trial's number. Default: the best.")] = None,
    storage: options.Storage = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Write the best (or a given) trial's checkpoint as a model folder.

    Example: kidneyseg-search export --study lr_loss --out best/
    """
    from kidneyseg.search.export import export_trial
    from kidneyseg.search.storage import open_storage

    runs = Choices(environment, None, []).runs
    opened = open_storage(storage_address(storage, runs), create=False)
    exported = export_trial(opened, study, runs, out, trial)
    validation = exported.description.validation
    typer.echo(
        f"trial {exported.trial} of study {study}, validation Dice {validation.dice:.4f} in epoch "
        f"{validation.epoch}: written to {out}"
    )
