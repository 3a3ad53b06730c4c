"""`kidneyseg train`: one training."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices


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
