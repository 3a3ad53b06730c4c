"""`kidneyseg predict`: masks for scans."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.scan_jobs import Results, find_jobs, predict_all
from kidneyseg.errors import CorrectableError, ExitCode


def predict(
    model: Annotated[Path, typer.Option(help="A model folder.")],
    scan: Annotated[
        Path,
        typer.Option(
            "-i",
            metavar="CT",
            help="A scan (.nii, .nii.gz, a folder of .dcm), or a folder of them.",
        ),
    ],
    mask: Annotated[
        Path, typer.Option("-o", metavar="MASK", help="The mask to write, or a folder for masks.")
    ],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="In a folder, replace masks that are there.")
    ] = False,
    sides: Annotated[
        bool, typer.Option("--sides", help="1 right and 2 left kidney, instead of 1 kidney.")
    ] = False,
    min_ml: options.MinMl = 0,
    opening_mm: options.OpeningMm = 0,
    closing_mm: options.ClosingMm = 0,
    largest_two: options.LargestTwo = False,
    flips: options.Flips = False,
    uncertainty: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="N passes with dropout: how far the volume spreads. 0: none."
        ),
    ] = 0,
    as_json: options.Json = False,
    device: Annotated[str, typer.Option(help="auto, cpu, or a GPU such as cuda:0.")] = "auto",
) -> None:
    """Mark the kidneys of scans; a mask has its scan's own shape, affine and header.

    Example: kidneyseg predict --model best/ -i scan.nii.gz -o mask.nii.gz
    """
    if uncertainty == 1:
        raise CorrectableError("--uncertainty 1: one pass has no spread; expected 2 or more")
    jobs, is_folder = find_jobs(scan, mask)

    from kidneyseg.cli.display import track
    from kidneyseg.model.folder import load_model
    from kidneyseg.model.postprocessing import Postprocessing
    from kidneyseg.model.scan_prediction import PredictionOptions, predict_scan
    from kidneyseg.model.uncertainty import check_dropout
    from kidneyseg.training.device import find_device

    loaded = load_model(model, find_device(device))
    if uncertainty:
        check_dropout(loaded)
    asked = PredictionOptions(
        flips=flips,
        sides=sides,
        postprocessing=Postprocessing(
            opening_mm=opening_mm,
            closing_mm=closing_mm,
            smallest_ml=min_ml,
            largest_two=largest_two,
        ),
        n_passes=uncertainty,
    )
    results = Results(as_json=as_json)
    if is_folder:
        predict_all(loaded, jobs, asked, results, overwrite=overwrite)
    else:
        job, watch = jobs[0], partial(track, what="batches of slices")
        results.add(predict_scan(loaded, job.scan, job.mask, asked, watch))
    if as_json:
        typer.echo(json.dumps({"model": str(model), **results.as_json()}))
    elif is_folder:
        typer.echo(f"{results.in_words()}: {mask}")
    if results.failed:
        raise typer.Exit(ExitCode.FAILED)
