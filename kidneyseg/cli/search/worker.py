"""`kidneyseg-search worker`: join a study from any machine."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.completion import complete_begun_studies
from kidneyseg.cli.json_log import LogFormat
from kidneyseg.cli.options import machine_choices, storage_address
from kidneyseg.cli.search.begin import (
    choose_devices,
    count_finished,
    prepare,
    summarize,
    work_here,
)
from kidneyseg.cli.telling import chosen_log, say, tell_of, warn
from kidneyseg.errors import CorrectableError, DataError, StudyStoppedError
from kidneyseg.runs import Runs

if TYPE_CHECKING:
    from kidneyseg.search.metrics import SearchMetrics
    from kidneyseg.search.service import BegunStudy
    from kidneyseg.search.storage import Storage
    from kidneyseg.settings import Environment

LOOK_SECONDS = 10.0  # between two looks for new work, with --wait


def worker(
    study: Annotated[
        str | None,
        typer.Option(
            help="Name in the database. Default: all with open trials.",
            autocompletion=complete_begun_studies,
        ),
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
    set_: options.MachineSet = None,
) -> None:
    """Join from any machine that reaches the database and the data.

    The settings that decide a result come from the study; folders come from this machine.

    Example: kidneyseg-search worker --study lr_loss --device cuda:0
    """
    from kidneyseg.cli.phantoms import with_data
    from kidneyseg.search.gpu_claims import CLAIM, claimed_device
    from kidneyseg.search.metrics import serve_metrics
    from kidneyseg.search.storage import open_storage
    from kidneyseg.search.studies import load_study

    machine = machine_choices(environment, data, set_).environment
    runs = Runs(machine.common.runs)
    tell_of(study)
    with ExitStack() as held:
        metrics = None
        if metrics_port is not None:
            metrics = held.enter_context(serve_metrics(metrics_port, metrics_host))
        opened = open_storage(storage_address(storage, runs), create=wait)
        if metrics is not None:
            patience = opened.patience
            metrics.watch_database(lambda: patience.is_waiting, lambda: patience.outages)
        if study is not None:
            load_study(opened, study)  # before phantoms are made for nothing
        named = device or machine.common.device
        if named == CLAIM:
            named = held.enter_context(claimed_device(runs.gpu_locks, wait=wait, tell=say))
            workers = workers or workers_per_gpu
        devices = choose_devices(named, workers, workers_per_gpu)
        machine = with_data(machine)
        left_out, is_idle = _LeftOut(opened, machine), False
        while True:
            for begun in _open_studies(opened, study, machine, left_out, wait=wait):
                is_idle = False
                _work_on(begun, devices, metrics, may_end=study is not None and not wait)
                tell_of(study)
            if not wait:
                return
            if not is_idle:
                say("waiting for studies")
            is_idle = True
            time.sleep(LOOK_SECONDS)


def _work_on(
    begun: "BegunStudy", devices: Sequence[str], metrics: "SearchMetrics | None", *, may_end: bool
) -> None:
    """Prepare a study's data and work on it. One that is stopped ends the command if it may."""
    tell_of(begun.study.name, begun.cases.names.scrub)
    prepare(begun.cases)
    try:
        work_here(begun, devices, None, metrics)
    except StudyStoppedError as error:
        if may_end:
            raise
        say(str(error))
    summarize(begun)


def _open_studies(
    opened: "Storage",
    study: str | None,
    machine: "Environment",
    left_out: "_LeftOut",
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
            left_out.tell(name, error)
            continue
        left_out.forget(name)
        if by_name or count_finished(begun) < order.n_trials:
            yield begun


class _LeftOut:
    """Tells of each study that is left out once, and again where the reason is another.

    Logs that programs collect say nothing of files where cases have pseudonyms.
    """

    def __init__(self, opened: "Storage", machine: "Environment") -> None:
        self._opened = opened
        self._machine = machine
        self._told: dict[str, str] = {}  # the reason by study

    def tell(self, name: str, error: CorrectableError) -> None:
        """Warn that a study is left out, unless that was told."""
        reason = self._reason(name, error)
        if self._told.get(name) != reason:
            self._told[name] = reason
            tell_of(name)
            warn(f"left out: {reason}")
            tell_of(None)

    def forget(self, name: str) -> None:
        """A study is not left out any more."""
        self._told.pop(name, None)

    def _reason(self, name: str, error: CorrectableError) -> str:
        from kidneyseg.search.service import has_pseudonyms

        hidden = self._machine.common.pseudonyms or has_pseudonyms(self._opened, name)
        if chosen_log() is not None and hidden and isinstance(error, DataError):
            return (
                f"study {name}: its data cannot be used here; kidneyseg-search worker --study "
                f"{name} says why"
            )
        about = f"study {name!r}"
        return str(error) if str(error).startswith(about) else f"{about}: {error}"
