"""`kidneyseg predict`: a mask for a scan."""

import os
from pathlib import Path
from typing import Annotated

import typer

from kidneyseg.errors import DataError


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
