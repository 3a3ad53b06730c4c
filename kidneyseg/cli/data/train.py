"""`kidneyseg train`: one training, or one done again."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices
from kidneyseg.cli.telling import warn
from kidneyseg.errors import SettingsError, TrainingError
from kidneyseg.settings import MACHINE_PATHS


def train(
    data: options.Data = None,
    set_: options.Set = None,
    out: Annotated[Path, typer.Option(help="The model folder to write.")] = Path("runs/model"),
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=2**32 - 1, help="The same seed gives the same numbers.", show_default="0"
        ),
    ] = None,
    environment: options.EnvironmentName = "local",
    repeat: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="A model folder whose training is done again, up to its best epoch; says whether "
            "the weights are the same bit for bit (exit code 1 if not).",
        ),
    ] = None,
) -> None:
    """Train one network with given hyper-parameters; keep its best epoch.

    Example: kidneyseg train --data kits19/data --set learning_rate=0.001 --out model/
    """
    from kidneyseg.model.description import check_place

    choices = Choices(environment, data, set_ or [])
    check_place(out)
    if repeat is None:
        _train(choices, seed or 0, out)
    else:
        _check_repeatable(set_ or [], seed, repeat, out)
        _repeat(choices, repeat, out)


def _train(choices: Choices, seed: int, out: Path) -> None:
    from kidneyseg.cli.display import show_epochs, track
    from kidneyseg.cli.phantoms import with_data
    from kidneyseg.ct.development import find_development_cases
    from kidneyseg.model.description import load_description
    from kidneyseg.model.single_training import train_model
    from kidneyseg.search.space import check_hyperparameters
    from kidneyseg.search.without_effect import given_without_effect
    from kidneyseg.training.device import check_precision, find_device, slow_precision

    hyperparameters = check_hyperparameters(choices.hyperparameters, "--set")
    for warning in given_without_effect(choices.hyperparameters, choices.environment):
        warn(warning)
    device = find_device(choices.environment.common.device)
    check_precision(choices.environment.training.precision, device)
    warn(slow_precision(choices.environment.training.precision, device))
    found = find_development_cases(with_data(choices.environment))
    warn(found.warning)
    prepared = list(track(found.prepare(), "cases prepared", len(found.cases)))
    with closing(train_model(found, prepared, hyperparameters, seed, out)) as epochs:
        show_epochs(epochs, choices.environment.training.max_epochs)
    best = load_description(out).validation
    typer.echo(f"validation Dice {best.dice:.4f} in epoch {best.epoch}: written to {out}")


def _repeat(choices: Choices, model: Path, out: Path) -> None:
    from kidneyseg.cli.display import show_epochs, track
    from kidneyseg.cli.phantoms import with_data
    from kidneyseg.ct.development import find_development_cases
    from kidneyseg.model.description import load_description
    from kidneyseg.model.repetition import (
        check_same_cases,
        differences,
        repeat_model,
        repeated_environment,
    )

    described = load_description(model)
    here = repeated_environment(described, choices.environment)
    found = find_development_cases(with_data(here))
    check_same_cases(found, described)
    prepared = list(track(found.prepare(), "cases prepared", len(found.cases)))
    with closing(repeat_model(found, prepared, described, out)) as epochs:
        show_epochs(epochs, described.validation.epoch)
    repeated = load_description(out)
    if repeated.weights_sha256 != described.weights_sha256:
        reasons = differences(described.provenance, repeated.provenance) or ["no reason is known"]
        raise TrainingError(
            f"{out}: the weights are not those of {model} bit for bit ({'; '.join(reasons)}); "
            f"validation Dice {repeated.validation.dice:.4f}, was {described.validation.dice:.4f}"
        )
    typer.echo(
        f"weights bit-identical to those of {model} (SHA-256 {repeated.weights_sha256[:16]}): "
        f"written to {out}"
    )


def _check_repeatable(set_: Sequence[str], seed: int | None, model: Path, out: Path) -> None:
    """Refuse options that would make it another training."""
    if seed is not None:
        raise SettingsError(f"--seed {seed}: --repeat takes the seed from the model; leave it out")
    for assignment in set_:
        part, _, name = assignment.partition("=")[0].strip().partition(".")
        if part != "common" and not (part == "data" and name in MACHINE_PATHS):
            raise SettingsError(
                f"--set {assignment}: --repeat takes it from the model; expected common.*, "
                f"{', '.join(f'data.{path}' for path in sorted(MACHINE_PATHS))}"
            )
    if out.resolve() == model.resolve():
        raise SettingsError(f"--out {out}: is the model to be repeated; expected another folder")
