"""`kidneyseg phantom`: make a synthetic data set."""

from pathlib import Path
from typing import Annotated

import typer

from kidneyseg.errors import CorrectableError


def phantom(
    out: Annotated[Path, typer.Argument(help="A new folder, or one to go on in.")],
    cases: Annotated[
        int | None, typer.Option(help="How many scans. Default with label maps: all of them.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same scans.")] = 0,
    size: Annotated[
        str | None,
        typer.Option(
            help="small (192 x 192, for a laptop: slices of 3 to 5 mm alone, no kidney that the "
            "field of view cuts) or full (512 x 512, KiTS19's spacings and slice counts).",
            show_default="small",
        ),
    ] = None,
    from_segmentations: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Draw scans around the label maps of this data folder, or table of paths (.csv).",
        ),
    ] = None,
) -> None:
    """Make a synthetic data set in KiTS19's layout. Interrupted, the same command goes on.

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
    if size is not None and from_segmentations is not None:
        raise CorrectableError(
            f"--size {size}: with --from-segmentations the label maps say it; leave it out"
        )
    if size is not None and size not in list(PhantomSize):
        raise CorrectableError(f"--size {size}: expected {' or '.join(PhantomSize)}")
    if from_segmentations is not None:
        segmentations = find_segmentations(from_segmentations)[:cases]
        total = len(segmentations)
        written = write_phantoms_around(out, segmentations, seed)
    else:
        total = cases or 0
        written = write_phantoms(out, total, seed, PhantomSize(size or PhantomSize.SMALL))
    for _ in track(written, "phantoms made", total):
        pass
    typer.echo(f"{total} cases written to {out}")
