"""`kidneyseg evaluate`: all measures of a model on the cases of its own split."""

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices
from kidneyseg.errors import CorrectableError
from kidneyseg.runs import make_folder

if TYPE_CHECKING:
    from kidneyseg.evaluation.cases import EvaluationCases
    from kidneyseg.evaluation.results import Results
    from kidneyseg.model.folder import Model

MACHINE_SETTINGS = ("common.", "data.folder", "data.cache", "data.splits_file")


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
    again: Annotated[
        bool, typer.Option("--again", help="Look at the test set once more, knowing it.")
    ] = False,
    environment: options.EnvironmentName = "local",
    set_: options.Set = None,
) -> None:
    """Measure a model's masks on whole volumes at full resolution, on cases of its own split.

    The test cases are for the end: each look at them is written into a ledger.

    Example: kidneyseg evaluate --model best/ --data kits19/data --pictures figures/
    """
    from kidneyseg.cli.evaluation_text import show_results
    from kidneyseg.cli.phantoms import with_data
    from kidneyseg.ct.shown_names import adopt_pseudonyms
    from kidneyseg.evaluation.cases import SplitPart, check_same_split, find_evaluation_cases
    from kidneyseg.evaluation.pictures import write_pictures
    from kidneyseg.evaluation.results import as_csv, as_document
    from kidneyseg.evaluation.tensorboard import log_results
    from kidneyseg.files import write_text
    from kidneyseg.model.folder import load_model
    from kidneyseg.training.device import find_device

    if split not in list(SplitPart):
        raise CorrectableError(f"--split {split}: expected {', '.join(SplitPart)}")
    choices = Choices(environment, data, _machine_settings(set_ or []))
    device = find_device(choices.environment.common.device)
    folders = [model] if compare is None else [model, compare]
    models = [load_model(folder, device) for folder in folders]
    check_same_split(models[0].description, models[-1].description)
    _make_places(csv, pictures, wanted=choices.environment.common.pictures)
    here = with_data(choices.environment)
    for each in models:
        here = adopt_pseudonyms(here, each.description.provenance.pseudonyms, "the model")
    found = find_evaluation_cases(models[0].description, here, SplitPart(split))
    looks_before = _look(found, models, folders, choices, again=again)
    several = _measure(models, found, looks_before, pictures=pictures is not None)
    for results in several:
        log_results(results, choices.runs)
    if csv is not None:
        write_text(csv, as_csv(several))
    if pictures is not None:
        for path in write_pictures(several[0], choices.runs, pictures):
            typer.echo(f"drawn: {path}", err=True)
    other = several[1] if len(several) > 1 else None
    if as_json:
        typer.echo(json.dumps(as_document(several[0], other)))
    else:
        show_results(several[0], other)


def _machine_settings(assignments: list[str]) -> list[str]:
    """Refuse what the model itself says; only places and the device are this machine's."""
    for assignment in assignments:
        if not assignment.strip().startswith(MACHINE_SETTINGS):
            raise CorrectableError(
                f"--set {assignment}: the model has its own; expected common.*, data.cache or "
                "data.splits_file"
            )
    return assignments


def _make_places(csv: Path | None, pictures: Path | None, *, wanted: bool) -> None:
    """Make the folders of what is asked for. Raises CorrectableError."""
    if pictures is not None and not wanted:
        raise CorrectableError(
            f"--pictures {pictures}: common.pictures = false switches them off; expected one of "
            "the two"
        )
    if csv is not None:
        make_folder(csv.parent, "--csv")
    if pictures is not None:
        make_folder(pictures, "--pictures")


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
    looks_before: int | None,
    *,
    pictures: bool,
) -> "list[Results]":
    """Evaluate every case; one result for each model."""
    from kidneyseg.cli.display import track
    from kidneyseg.evaluation.evaluating import evaluate_cases
    from kidneyseg.evaluation.results import Results

    with closing(evaluate_cases(models, found, pictures=pictures)) as evaluating:
        cases = list(track(evaluating, "cases evaluated", len(found.cases)))
    return [
        Results(
            description=model.description,
            part=found.part,
            cases=tuple(each[place] for each in cases),
            looks_before=looks_before,
        )
        for place, model in enumerate(models)
    ]
