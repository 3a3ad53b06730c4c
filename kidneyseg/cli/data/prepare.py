"""`kidneyseg prepare`: make the memory-mapped slices that trials share."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices
from kidneyseg.cli.telling import warn
from kidneyseg.errors import CorrectableError

if TYPE_CHECKING:
    from kidneyseg.settings import Environment


def prepare(
    data: Annotated[
        Path,
        typer.Argument(help="Case folders as in KiTS19 or nnU-Net, or a table of paths (.csv)."),
    ],
    contact_sheet: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Also draw all volumes on one sheet, to be looked at."),
    ] = None,
    export_splits: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help="Also write the folds as nnU-Net's splits_final.json."),
    ] = None,
    environment: options.EnvironmentName = "local",
    set_: options.Set = None,
) -> None:
    """Prepare the memory-mapped slices that trials share. Test cases are left alone.

    What is there already is checked by its hashes, and made anew where it is damaged.

    Example: kidneyseg prepare kits19/data --environment cluster
    """
    from kidneyseg.ct.findings import CaseError

    for path, suffix in ((contact_sheet, ".png"), (export_splits, ".json")):
        if path is not None and path.suffix.lower() != suffix:
            raise CorrectableError(f"{path}: expected a name that ends in {suffix}")
    choices = Choices(environment, data, set_ or [])
    try:
        _prepare(choices.environment, contact_sheet, export_splits)
    except CaseError as error:
        words = f"{error}; kidneyseg verify {data} checks every case"
        raise CaseError(words, error.kind) from error


def _prepare(
    environment: "Environment", contact_sheet: Path | None, export_splits: Path | None
) -> None:
    from kidneyseg.cli.display import track
    from kidneyseg.ct.contact_sheet import write_contact_sheet
    from kidneyseg.ct.development import find_development_cases
    from kidneyseg.ct.nnunet_splits import export_splits as write_splits

    found = find_development_cases(environment)
    warn(found.warning)
    if export_splits is not None:
        folds = found.folds()
        write_splits(folds, export_splits)
        typer.echo(f"{len(folds)} fold{'s' * (len(folds) != 1)} written to {export_splits}")
    with closing(found.prepare(hashes=True)) as preparing:
        prepared = list(track(preparing, "cases prepared", len(found.cases)))
    n_slices = sum(case.manifest.images.shape[0] for case in prepared)
    typer.echo(f"{n_slices} slices of {len(prepared)} cases lie in {found.cache.folder}")
    if contact_sheet is not None:
        with closing(found.pictures()) as drawing:
            pictures = list(track(drawing, "cases drawn", len(found.selected.cases)))
        write_contact_sheet(sorted(pictures, key=lambda one: one.name), contact_sheet)
        typer.echo(f"{len(pictures)} volumes drawn on {contact_sheet}")
