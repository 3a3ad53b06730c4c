"""`kidneyseg evaluate`: all measures of a model on the cases of its own split."""

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices, machine_choices
from kidneyseg.cli.telling import warn
from kidneyseg.errors import CorrectableError, one_line
from kidneyseg.runs import Runs, make_folder

if TYPE_CHECKING:
    from kidneyseg.evaluation.cases import EvaluationCases
    from kidneyseg.evaluation.results import Results
    from kidneyseg.model.folder import Model
    from kidneyseg.model.mask_steps import MaskSteps


def evaluate(
    model: Annotated[Path, typer.Option(metavar="DIR", help="A model folder.")],
    data: options.Data = None,
    split: Annotated[
        str, typer.Option(help="training, validation, test or all; the last two are a look.")
    ] = "validation",
    as_json: options.Json = False,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write every case's measures.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Another model of the same split.")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also draw the best and worst slices, and the curves."),
    ] = None,
    min_ml: options.MinMl = 0,
    opening_mm: options.OpeningMm = 0,
    closing_mm: options.ClosingMm = 0,
    largest_two: options.LargestTwo = False,
    flips: options.Flips = False,
    again: Annotated[
        bool, typer.Option("--again", help="Look at the test set once more, knowing it.")
    ] = False,
    environment: options.EnvironmentName = "local",
    set_: options.MachineSet = None,
) -> None:
    """Measure a model's masks on whole volumes at full resolution, on cases of its own split.

    The options of clean-up are those of predict, to be tried here first. The test cases are for the
    end: each look at them is written into a ledger.

    Example: kidneyseg evaluate --model best/ --data kits19/data --pictures figures/
    """
    from kidneyseg.cli.phantoms import with_data
    from kidneyseg.ct.shown_names import adopt_pseudonyms
    from kidneyseg.evaluation.cases import SplitPart, find_evaluation_cases
    from kidneyseg.model.folder import load_model
    from kidneyseg.model.mask_steps import MaskSteps
    from kidneyseg.model.postprocessing import Postprocessing
    from kidneyseg.training.device import find_device

    if split not in list(SplitPart):
        raise CorrectableError(f"--split {split}: expected {', '.join(SplitPart)}")
    choices = machine_choices(environment, data, set_, owner="model")
    device = find_device(choices.environment.common.device)
    folders = [model] if compare is None else [model, compare]
    models = [load_model(folder, device) for folder in folders]
    _check_places(csv, pictures, wanted=choices.environment.common.pictures)
    here = with_data(choices.environment)
    for each in models:
        here = adopt_pseudonyms(here, each.description.provenance.pseudonyms, "the model")
    found = find_evaluation_cases(
        models[0].description,
        here,
        SplitPart(split),
        None if compare is None else models[1].description,
    )
    looks_before = _look(found, models, folders, choices, again=again)
    steps = MaskSteps(
        flips=flips,
        postprocessing=Postprocessing(
            opening_mm=opening_mm,
            closing_mm=closing_mm,
            smallest_ml=min_ml,
            largest_two=largest_two,
        ),
    )
    several = _measure(models, found, steps, looks_before, pictures=pictures is not None)
    _tell(several, csv, as_json=as_json)
    if pictures is not None:
        _draw(several[0], choices.runs, pictures)
    _log(several, choices.runs)


def _check_places(csv: Path | None, pictures: Path | None, *, wanted: bool) -> None:
    """Refuse places that cannot be written before anything is read: a look is not taken back."""
    if pictures is not None and not wanted:
        raise CorrectableError(
            f"--pictures {pictures}: common.pictures = false switches them off; expected one of "
            "the two"
        )
    if csv is not None:
        if csv.is_dir():
            raise CorrectableError(f"--csv {csv}: a folder; expected a file to write")
        make_folder(csv.parent, "--csv")
    if pictures is not None:
        make_folder(pictures, "--pictures")


def _tell(several: "list[Results]", csv: Path | None, *, as_json: bool) -> None:
    """Print the results, first of all, and write the table."""
    from kidneyseg.cli.evaluation_text import show_results
    from kidneyseg.evaluation.results import as_csv, as_document
    from kidneyseg.files import write_text

    other = several[1] if len(several) > 1 else None
    if as_json:
        typer.echo(json.dumps(as_document(several[0], other)))
    else:
        show_results(several[0], other)
    if csv is not None:
        write_text(csv, as_csv(several))


def _draw(results: "Results", runs: Runs, folder: Path) -> None:
    """Draw the pictures, and say where they lie, or why there are no curves."""
    from kidneyseg.evaluation.curves import find_log, log_places
    from kidneyseg.evaluation.pictures import write_pictures

    for path in write_pictures(results, runs, folder):
        typer.echo(f"drawn: {path}", err=True)
    if find_log(runs, results.description) is None:
        places = " or ".join(str(place) for place in log_places(runs, results.description))
        typer.echo(
            f"curves not drawn: no training log of these weights in {places}; --set "
            "common.runs=DIR names the runs folder of the training",
            err=True,
        )


def _log(several: "list[Results]", runs: Runs) -> None:
    """Write TensorBoard's third writer; the results do not depend on it."""
    from kidneyseg.evaluation.tensorboard import log_results

    try:
        for results in several:
            log_results(results, runs)
    except Exception as error:  # noqa: BLE001 - TensorBoard's own; all is told and written by now
        warn(f"not written for TensorBoard: {one_line(error)}")


def _look(
    found: "EvaluationCases",
    models: "list[Model]",
    folders: list[Path],
    choices: Choices,
    *,
    again: bool,
) -> int | None:
    """Write a look at the test set down; return how many there were before, None for no look."""
    if not found.part.holds_test:
        return None
    from kidneyseg.evaluation.ledger import Ledger, new_look

    fingerprint = found.split.fingerprint
    look = new_look(fingerprint, found.part.value, [model.description for model in models])
    split_folder = choices.runs.evaluation_data(fingerprint).parent
    before = Ledger(split_folder=split_folder, model_folders=folders).write(look, again=again)
    typer.echo(f"looks at this test set before: {before}", err=True)
    return before


def _measure(
    models: "list[Model]",
    found: "EvaluationCases",
    steps: "MaskSteps",
    looks_before: int | None,
    *,
    pictures: bool,
) -> "list[Results]":
    """Evaluate every case; one result for each model."""
    from kidneyseg.cli.display import track
    from kidneyseg.evaluation.evaluating import evaluate_cases
    from kidneyseg.evaluation.results import Results

    with closing(evaluate_cases(models, found, steps, pictures=pictures)) as evaluating:
        cases = list(track(evaluating, "cases evaluated", len(found.cases)))
    return [
        Results(
            description=model.description,
            part=found.part,
            cases=tuple(each[place] for each in cases),
            steps=steps,
            looks_before=looks_before,
        )
        for place, model in enumerate(models)
    ]
