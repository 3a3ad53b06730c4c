"""`kidneyseg-search submit`: create a study or raise its budget, and return."""

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices
from kidneyseg.cli.search.begin import begin, count_finished


def submit(
    study: options.StudyFile,
    n_trials: options.NTrials,
    set_: options.Set = None,
    name: options.StudyName = None,
    storage: options.Storage = None,
    data: options.Data = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Create a study or raise its budget, and return; workers do the rest.

    Example: kidneyseg-search submit --study lr_loss --n-trials 100
    """
    choices = Choices(environment, data, set_ or [])
    begun = begin(study, n_trials, name, storage, choices)
    typer.echo(
        f"study {begun.study.name}: {count_finished(begun)} of {begun.study.n_trials} trials are "
        f"finished; join with kidneyseg-search worker --study {begun.study.name}"
    )
