"""`kidneyseg-search worker`: join a study from any machine."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices, storage_address
from kidneyseg.cli.search.begin import (
    choose_devices,
    count_finished,
    prepare,
    summarize,
    work_here,
)
from kidneyseg.errors import StudyError
from kidneyseg.runs import Runs

if TYPE_CHECKING:
    from kidneyseg.search.service import BegunStudy
    from kidneyseg.search.storage import Storage
    from kidneyseg.settings import Environment

LOOK_SECONDS = 10.0  # between two looks for new work, with --wait


def worker(
    study: Annotated[
        str | None, typer.Option(help="Name in the database. Default: all with open trials.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, or cuda:0. Default: the environment's."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Trials at a time. Default: one per GPU, else one.")
    ] = None,
    workers_per_gpu: Annotated[
        int, typer.Option(help="Trials at a time on each GPU, for small networks.")
    ] = 1,
    wait: Annotated[
        bool, typer.Option("--wait", help="Do not end: wait for studies to be submitted.")
    ] = False,
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
    from kidneyseg.search.storage import open_storage

    machine = Choices(environment, data, []).environment
    devices = choose_devices(device or machine.common.device, workers, workers_per_gpu)
    machine = with_data(machine)
    opened = open_storage(storage_address(storage, Runs(machine.common.runs)), create=wait)
    console = stderr_console()
    while True:
        for begun in _open_studies(opened, study, machine):
            prepare(begun.cases)
            work_here(begun, devices, None)
            summarize(begun, console.print)
        if not wait:
            return
        time.sleep(LOOK_SECONDS)


def _open_studies(
    opened: "Storage", study: str | None, machine: "Environment"
) -> "Iterator[BegunStudy]":
    """The study that is named, or all that want more trials and whose data are here."""
    from kidneyseg.cli.display import stderr_console
    from kidneyseg.search.orders import read_order
    from kidneyseg.search.service import join_study
    from kidneyseg.search.status import find_study_id
    from kidneyseg.search.studies import study_names

    for name in [study] if study else study_names(opened):
        order = read_order(opened, find_study_id(opened, name))
        if study is None and order.stop is not None:
            continue
        try:
            begun = join_study(opened, name, machine)
        except StudyError as error:
            if study is not None:
                raise
            stderr_console().print(f"left out: {error}", markup=False)
            continue
        if study is not None or count_finished(begun) < order.n_trials:
            yield begun
