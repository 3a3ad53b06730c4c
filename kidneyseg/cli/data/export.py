"""`kidneyseg export`: a model for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.errors import CorrectableError

if TYPE_CHECKING:
    from kidneyseg.model.folder import Model


def export(
    model: Annotated[Path, typer.Option(help="A model folder.")],
    onnx: Annotated[
        Path | None, typer.Option("--onnx", metavar="FILE", help="One ONNX file, compared.")
    ] = None,
    monai_bundle: Annotated[
        Path | None, typer.Option("--monai-bundle", metavar="DIR", help="A MONAI bundle.")
    ] = None,
) -> None:
    """Write a model as an ONNX file, or as a MONAI bundle.

    Example: kidneyseg export --model best/ --onnx kidney.onnx
    """
    if onnx is None and monai_bundle is None:
        raise CorrectableError(
            "export: nothing to write; expected --onnx FILE or --monai-bundle DIR"
        )

    import torch

    from kidneyseg.model.folder import load_model

    write_exports(load_model(model, torch.device("cpu")), onnx, monai_bundle)


def write_exports(model: "Model", onnx: Path | None, monai_bundle: Path | None) -> None:
    """Write what is asked for, and say so. `kidneyseg-search export` takes the same options."""
    if onnx is not None:
        from kidneyseg.model.onnx_model import write_onnx

        difference = write_onnx(model, onnx)
        typer.echo(
            f"logits differ by at most {difference:.1g} under onnxruntime: written to {onnx}"
        )
    if monai_bundle is not None:
        from kidneyseg.model.monai_bundle import write_bundle

        write_bundle(model, monai_bundle)
        typer.echo(f"MONAI bundle: written to {monai_bundle}")
