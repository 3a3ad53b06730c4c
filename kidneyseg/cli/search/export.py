"""`kidneyseg-search export`: a trial as a model folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import machine_choices, storage_address
from kidneyseg.environment_files import with_folders
from kidneyseg.errors import CorrectableError, KidneysegError
from kidneyseg.settings import Environment

if TYPE_CHECKING:
    from kidneyseg.search.revalidation import Revalidation
    from kidneyseg.search.service import BegunStudy
    from kidneyseg.search.storage import Storage


def export(
    study: options.Study,
    out: Annotated[Path, typer.Option(help="The model folder to write.")],
    trial: Annotated[int | None, typer.Option(help="A trial's number. Default: the best.")] = None,
    onnx: Annotated[
        Path | None, typer.Option("--onnx", metavar="FILE", help="Also one ONNX file, compared.")
    ] = None,
    monai_bundle: Annotated[
        Path | None, typer.Option("--monai-bundle", metavar="DIR", help="Also a MONAI bundle.")
    ] = None,
    storage: options.Storage = None,
    data: options.Data = None,
    environment: options.EnvironmentName = "local",
    set_: options.MachineSet = None,
) -> None:
    """Write the best (or a given) trial's checkpoint as a model folder, and evaluate it.

    It is read back and validated once more, where the study's data are at hand: the Dice must be
    the one recorded.

    Example: kidneyseg-search export --study lr_loss --out best/
    """
    from kidneyseg.search.artifact_stores import open_artifacts
    from kidneyseg.search.export import Keep, export_trial
    from kidneyseg.search.storage import open_storage

    choices = machine_choices(environment, data, set_)
    runs, common = choices.runs, choices.environment.common
    opened = open_storage(storage_address(storage, runs), create=False)
    begun, why_not = _join(opened, study, choices.environment, asked=data is not None)
    keep = Keep(storage=opened, store=open_artifacts(common, runs), runs=runs)
    exported = export_trial(keep, study, out, trial)
    validation = exported.description.validation
    typer.echo(
        f"trial {exported.trial} of study {study}, validation Dice {validation.dice:.4f} in epoch "
        f"{validation.epoch}: written to {out}"
    )
    if begun is None:
        typer.echo(f"not evaluated: {why_not}; --data DIR names the study's data")
    else:
        found = _evaluate(begun, out, common.device)
        typer.echo(_words(found))
        if found.is_other:
            raise KidneysegError(
                f"{out}: does not give the Dice that was recorded; the data, the settings or the "
                "machine's arithmetic are not those of the training"
            )
    if onnx is not None or monai_bundle is not None:
        import torch

        from kidneyseg.cli.data.export import write_exports
        from kidneyseg.model.folder import load_model

        write_exports(load_model(out, torch.device("cpu")), onnx, monai_bundle)


def _join(
    opened: "Storage", study: str, machine: Environment, *, asked: bool
) -> tuple["BegunStudy | None", str]:
    """The study on this machine's data; without, why not. Data that were asked for must fit."""
    from kidneyseg.runs import Runs
    from kidneyseg.search.service import join_study

    phantoms = Runs(machine.common.runs).phantom
    if machine.data.folder is None and phantoms.is_dir():
        machine = with_folders(machine, data=phantoms)
    if machine.data.folder is None:
        return None, "no data folder is named"
    try:
        return join_study(opened, study, machine), ""
    except CorrectableError as error:
        if asked:
            raise
        return None, str(error)


def _evaluate(begun: "BegunStudy", folder: Path, device: str) -> "Revalidation":
    from kidneyseg.cli.display import track
    from kidneyseg.search.revalidation import prepare_validation, revalidate

    n_cases = len(begun.cases.split.validation)
    prepared = list(track(prepare_validation(begun.cases), "cases prepared", n_cases))
    return revalidate(begun, prepared, folder, device)


def _words(found: "Revalidation") -> str:
    cases = len(found.dice_of_case)
    told = (
        f"evaluated on {cases} validation {'case' if cases == 1 else 'cases'}: Dice "
        f"{found.dice:.6f} on {found.device}"
    )
    if found.agrees:
        return f"{told}, as recorded"
    return (
        f"{told}; {found.recorded:.6f} was recorded on {found.recorded_device}: a difference of "
        f"{abs(found.dice - found.recorded):.1e}"
    )
