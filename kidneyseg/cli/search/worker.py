"""`kidneyseg-search worker`: join a study from any machine."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.json_log import LogFormat
from kidneyseg.cli.options import Choices, storage_address
from kidneyseg.cli.search.begin import (
    choose_devices,
    count_finished,
    prepare,
    summarize,
    work_here,
)
from kidneyseg.cli.telling import chosen_log, say, tell_of
from kidneyseg.errors import CorrectableError, DataError, StudyStoppedError
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
        typer.Option(
            help="auto, cpu, cuda:0, or claim: a GPU of its own. Default: the environment's."
        ),
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
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve metrics for Prometheus at this port.")
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address that metrics are served at.")
    ] = "127.0.0.1",
    _log_format: options.LogFormatOption = LogFormat.TEXT,
    storage: options.Storage = None,
    data: options.Data = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Join from any machine that reaches the database and the data.

    The settings that decide a result come from the study; folders come from this machine.

    Example: kidneyseg-search worker --study lr_loss --device cuda:0
    """
    from kidneyseg.cli.phantoms import with_data
    from kidneyseg.search.gpu_claims import CLAIM, claimed_device
    from kidneyseg.search.metrics import serve_metrics
    from kidneyseg.search.storage import open_storage

    machine = Choices(environment, data, []).environment
    runs = Runs(machine.common.runs)
    tell_of(study)
    with ExitStack() as held:
        metrics = None
        if metrics_port is not None:
            metrics = held.enter_context(serve_metrics(metrics_port, metrics_host))
        named = device or machine.common.device
        if named == CLAIM:
            named = held.enter_context(claimed_device(runs.gpu_locks, wait=wait, tell=say))
            workers = workers or workers_per_gpu
        devices = choose_devices(named, workers, workers_per_gpu)
        machine = with_data(machine)
        opened = open_storage(storage_address(storage, runs), create=wait)
        if metrics is not None:
            patience = opened.patience
            metrics.watch_database(lambda: patience.is_waiting, lambda: patience.outages)
        while True:
            told = _told_as(opened, machine)
            for begun in _open_studies(opened, study, machine, told, wait=wait):
                tell_of(begun.study.name, begun.cases.names.scrub)
                prepare(begun.cases)
                try:
                    work_here(begun, devices, None, metrics)
                except StudyStoppedError as error:
                    if study is not None and not wait:
                        raise
                    say(str(error))
                summarize(begun)
                tell_of(study)
            if not wait:
                return
            time.sleep(LOOK_SECONDS)


def _open_studies(
    opened: "Storage",
    study: str | None,
    machine: "Environment",
    leave_out: Callable[[str, CorrectableError], object],
    *,
    wait: bool,
) -> "Iterator[BegunStudy]":
    """The study that is named, or all that want more trials and whose data are here."""
    from kidneyseg.search.orders import read_order
    from kidneyseg.search.service import join_study
    from kidneyseg.search.status import find_study_id
    from kidneyseg.search.studies import study_names

    for name in [study] if study else study_names(opened):
        by_name = study is not None and not wait
        try:
            order = read_order(opened, find_study_id(opened, name))
            if not by_name and order.stop is not None:
                continue
            begun = join_study(opened, name, machine)
        except CorrectableError as error:
            if study is not None:
                raise
            leave_out(name, error)
            continue
        if by_name or count_finished(begun) < order.n_trials:
            yield begun


def _told_as(
    opened: "Storage", machine: "Environment"
) -> Callable[[str, CorrectableError], object]:
    """How it is told that a study is left out.

    Logs that programs collect say nothing of files where cases have pseudonyms.
    """
    from kidneyseg.search.service import has_pseudonyms

    def leave_out(name: str, error: CorrectableError) -> None:
        hidden = machine.common.pseudonyms or has_pseudonyms(opened, name)
        if chosen_log() is not None and hidden and isinstance(error, DataError):
            say(
                f"left out: study {name}: its data cannot be used here; kidneyseg-search worker "
                f"--study {name} says why"
            )
        else:
            say(f"left out: {error}")

    return leave_out
