"""`kidneyseg-search worker`: join a study from any machine."""

from contextlib import closing
from typing import Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices, storage_address
from kidneyseg.cli.search.begin import build_display, count_finished, prepare, summarize
from kidneyseg.errors import StudyError
from kidneyseg.runs import Runs


def worker(
    study: Annotated[
        str | None, typer.Option(help="Name in the database. Default: all with open trials.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, or cuda:0. Default: the environment's."),
    ] = None,
    storage: options.Storage = None,
    data: options.Data = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Join from any machine that reaches the database and the data.

    The settings that decide a result come from the study; folders come from this machine.

    Example: kidneyseg-search worker --study lr_loss --device cuda:0
    """
    from kidneyseg.cli.display import stderr_console
    from kidneyseg.cli.phantoms import with_data
    from kidneyseg.search.service import join_study
    from kidneyseg.search.storage import open_storage
    from kidneyseg.search.studies import study_names
    from kidneyseg.search.worker import work

    machine = with_data(Choices(environment, data, []).environment)
    runs = Runs(machine.common.runs)
    opened = open_storage(storage_address(storage, runs), create=False)
    console = stderr_console()
    for study_name in [study] if study else study_names(opened):
        try:
            begun = join_study(opened, study_name, machine)
        except StudyError as error:
            if study is not None:
                raise
            console.print(f"left out: {error}", markup=False)
            continue
        if study is None and count_finished(begun) >= begun.study.n_trials:
            continue
        prepare(begun.cases)
        display = build_display(begun, begun.study.n_trials)
        workplace = begun.workplace(device or machine.common.device)
        with display.live(), closing(work(workplace)) as events:
            for event in events:
                display.show(event)
        summarize(begun, console.print)
