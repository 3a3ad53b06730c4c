"""`kidneyseg-search confirm`: the best few, trained again with new seeds and compared."""

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import machine_choices, storage_address
from kidneyseg.cli.search.begin import choose_devices, count_finished, join, work_here
from kidneyseg.errors import SettingsError

if TYPE_CHECKING:
    from kidneyseg.search.confirmation import Confirmed, Verdict
    from kidneyseg.search.service import BegunStudy


def confirm(
    study: options.Study,
    top: Annotated[int, typer.Option(help="How many of the best trials.")] = 5,
    seeds: Annotated[int, typer.Option(help="New seeds for each of them.")] = 3,
    name: Annotated[
        str | None, typer.Option(help="Of the linked study. Default: STUDY-confirm.")
    ] = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="Leave the trainings to workers, and return.")
    ] = False,
    refit: Annotated[
        Path | None,
        typer.Option(
            "--refit",
            metavar="DIR",
            help="Then train the winner on training and validation cases together.",
        ),
    ] = None,
    refit_trial: Annotated[
        int | None,
        typer.Option(
            "--refit-trial", metavar="NUMBER", help="With --refit: that trial, not the winner."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Trainings at a time. Default: one per GPU, else one.")
    ] = None,
    as_json: options.Json = False,
    storage: options.Storage = None,
    data: options.Data = None,
    environment: options.EnvironmentName = "local",
    set_: options.MachineSet = None,
) -> None:
    """Train the best few again with new seeds, and say which of them are really better.

    The trainings are trials of a linked study; any worker may join. The same command again goes on.

    Example: kidneyseg-search confirm --study lr_loss --top 5 --seeds 3
    """
    from kidneyseg.cli.confirmation_text import confirmation_text, verdict_as_json
    from kidneyseg.cli.phantoms import with_data
    from kidneyseg.model.description import check_place
    from kidneyseg.search.confirmation import begin_confirmation, check_candidate, judge
    from kidneyseg.search.storage import open_storage
    from kidneyseg.search.studies import load_study

    if refit_trial is not None and refit is None:
        raise SettingsError(f"--refit-trial {refit_trial}: expected --refit DIR with it")
    choices = machine_choices(environment, data, set_)
    devices = choose_devices(choices.environment.common.device, workers, 1)
    opened = open_storage(storage_address(storage, choices.runs), create=False)
    if refit is not None:
        check_place(refit)
    linked = begin_confirmation(load_study(opened, study), top, seeds, name)
    if refit_trial is not None:
        check_candidate(linked, refit_trial)
    if submit:
        typer.echo(
            f"study {linked.name}: {linked.n_trials} trainings wait for workers: kidneyseg-search "
            f"worker --study {linked.name}; then the same command without --submit compares them"
        )
        return
    begun = join(opened, linked.name, with_data(choices.environment))
    if count_finished(begun) < linked.n_trials:
        work_here(begun, devices, None)
    verdict = judge(linked)
    typer.echo(json.dumps(verdict_as_json(verdict)) if as_json else confirmation_text(verdict))
    if refit is not None:
        _refit(begun, verdict, verdict.to_refit(refit_trial), devices[0], refit)


def _refit(
    begun: "BegunStudy", verdict: "Verdict", chosen: "Confirmed", device: str, out: Path
) -> None:
    from kidneyseg.cli.display import show_epochs
    from kidneyseg.search.refit import refit

    with closing(refit(begun, verdict, chosen, device, out)) as epochs:
        show_epochs(epochs, chosen.best_epoch)
    typer.echo(f"trial {chosen.trial}, trained on all: written to {out}", err=True)
