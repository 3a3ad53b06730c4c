"""`kidneyseg`: data and one network."""

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices
from kidneyseg.errors import CorrectableError, DataError, ExitCode

app = typer.Typer(
    help="Kidney segmentation in CT: data, one training, masks.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    cases: Annotated[
        int | None, typer.Option(help="How many scans. Default with label maps: all of them.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same scans.")] = 0,
    size: Annotated[str, typer.Option(help="small (a laptop) or full (512 x 512).")] = "small",
    from_segmentations: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw scans around the label maps of this folder."),
    ] = None,
) -> None:
    """Make a synthetic data set in KiTS19's layout.

    Example: kidneyseg phantom phantoms/ --cases 12
    """
    from kidneyseg.cli.display import track
    from kidneyseg.phantom.data_set import (
        find_segmentations,
        write_phantoms,
        write_phantoms_around,
    )
    from kidneyseg.phantom.drawing import PhantomSize

    if cases is None and from_segmentations is None:
        raise CorrectableError("--cases is missing; expected how many scans to make")
    if cases is not None and cases < 1:
        raise CorrectableError(f"--cases {cases}: expected 1 or more")
    if size not in list(PhantomSize):
        raise CorrectableError(f"--size {size}: expected {' or '.join(PhantomSize)}")
    if from_segmentations is not None:
        segmentations = find_segmentations(from_segmentations)[:cases]
        total = len(segmentations)
        written = write_phantoms_around(out, segmentations, seed)
    else:
        total = cases or 0
        written = write_phantoms(out, total, seed, PhantomSize(size))
    for _ in track(written, "phantoms made", total):
        pass
    typer.echo(f"{total} cases written to {out}")


@app.command()
def verify(
    data: Annotated[
        Path,
        typer.Argument(help="Case folders as in KiTS19 or nnU-Net, or a table of paths (.csv)."),
    ],
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="Check the labels; the scans may be missing.")
    ] = False,
    as_json: options.Json = False,
    environment: options.EnvironmentName = "local",
    set_: options.Set = None,
) -> None:
    """Check every case: errors with their cure, and notes of what is odd but right.

    Example: kidneyseg verify kits19/data
    """
    from kidneyseg.cli.display import track
    from kidneyseg.ct.findings import findings_text
    from kidneyseg.ct.layouts import list_files
    from kidneyseg.ct.verification import check_cases, collect_findings

    settings = Choices(environment, data, set_ or []).environment.data
    cases = list_files(data)
    with closing(check_cases(cases, settings, labels_only=labels_only)) as checking:
        findings = collect_findings(track(checking, "cases checked", len(cases)))
    n_errors = sum(finding.is_error for finding in findings)
    if as_json:
        document = {
            "data": str(data),
            "cases": len(cases),
            "errors": n_errors,
            "notes": len(findings) - n_errors,
            "findings": [finding.as_json() for finding in findings],
        }
        typer.echo(json.dumps(document))
    else:
        typer.echo(findings_text(findings), nl=bool(findings))
        typer.echo(f"{len(cases)} cases: {n_errors} errors, {len(findings) - n_errors} notes")
    if n_errors:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
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
    from kidneyseg.cli.display import track
    from kidneyseg.ct.contact_sheet import write_contact_sheet
    from kidneyseg.ct.development import find_development_cases
    from kidneyseg.ct.nnunet_splits import export_splits as write_splits

    for path, suffix in ((contact_sheet, ".png"), (export_splits, ".json")):
        if path is not None and path.suffix.lower() != suffix:
            raise CorrectableError(f"{path}: expected a name that ends in {suffix}")
    choices = Choices(environment, data, set_ or [])
    found = find_development_cases(choices.environment)
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


@app.command()
def train(
    data: options.Data = None,
    set_: options.Set = None,
    out: Annotated[Path, typer.Option(help="The model folder to write.")] = Path("runs/model"),
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same numbers.")
    ] = 0,
    environment: options.EnvironmentName = "local",
) -> None:
    """Train one network with given hyper-parameters; keep its best epoch.

    Example: kidneyseg train --data kits19/data --set learning_rate=0.001 --out model/
    """
    from kidneyseg.cli.display import show_epochs, track
    from kidneyseg.cli.phantoms import with_data
    from kidneyseg.ct.development import find_development_cases
    from kidneyseg.model.description import check_place, load_description
    from kidneyseg.model.single_training import train_model
    from kidneyseg.search.space import check_hyperparameters

    choices = Choices(environment, data, set_ or [])
    hyperparameters = check_hyperparameters(choices.hyperparameters, "--set")
    check_place(out)
    found = find_development_cases(with_data(choices.environment))
    prepared = list(track(found.prepare(), "cases prepared", len(found.cases)))
    epochs = train_model(found, prepared, hyperparameters, seed, out)
    with closing(epochs):
        show_epochs(epochs, choices.environment.training.max_epochs)
    best = load_description(out).validation
    typer.echo(f"validation Dice {best.dice:.4f} in epoch {best.epoch}: written to {out}")


@app.command()
def predict(
    model: Annotated[Path, typer.Option(help="A model folder.")],
    scan: Annotated[Path, typer.Option("-i", metavar="CT", help="A scan, .nii or .nii.gz.")],
    mask: Annotated[Path, typer.Option("-o", metavar="MASK", help="The mask to write.")],
    device: Annotated[str, typer.Option(help="auto, cpu, or a GPU such as cuda:0.")] = "auto",
) -> None:
    """Mark the kidneys of a scan; the mask has the scan's own shape, affine and header.

    Example: kidneyseg predict --model best/ -i scan.nii.gz -o mask.nii.gz
    """
    if not mask.name.endswith((".nii", ".nii.gz")):
        raise DataError(f"{mask}: expected a name that ends in .nii or .nii.gz")
    if not scan.is_file():
        raise DataError(f"{scan}: no such scan")
    if mask.exists() and mask.samefile(scan):
        raise DataError(f"{mask}: is the scan itself; expected another name for the mask")
    if not os.access(mask.parent if mask.parent.is_dir() else Path(), os.W_OK):
        raise DataError(f"{mask.parent}: cannot be written; expected a folder of your own")

    import numpy as np

    from kidneyseg.cli.display import track
    from kidneyseg.ct.volumes import read_scan, write_mask
    from kidneyseg.model.folder import load_model
    from kidneyseg.model.prediction import predict_slices
    from kidneyseg.training.device import find_device

    loaded = load_model(model, find_device(device))
    volume = read_scan(scan)
    found = np.zeros(volume.array.shape, np.uint8)
    for part in track(predict_slices(loaded, volume), "batches of slices"):
        found[part.first : part.first + len(part.mask)] = part.mask
    write_mask(mask, found, volume.geometry)
    volume_ml = float(found.sum()) * volume.geometry.voxel_ml
    typer.echo(f"{volume_ml:.0f} ml of kidney: written to {mask}")
    if not found.any():
        typer.echo("no kidney was found: look at the scan", err=True)
