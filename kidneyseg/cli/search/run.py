"""`kidneyseg-search run`: create a study or go on with it, and work on it."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices, storage_address
from kidneyseg.cli.search.begin import begin, build_display, count_finished, summarize
from kidneyseg.cores import count_cores
from kidneyseg.errors import CorrectableError
from kidneyseg.settings import Environment

if TYPE_CHECKING:
    from kidneyseg.cli.display import SearchDisplay
    from kidneyseg.search.service import BegunStudy


def run(
    study: options.StudyFile,
    n_trials: options.NTrials,
    workers: Annotated[
        int | None, typer.Option(help="Processes at once. Default: one per GPU, else one.")
    ] = None,
    set_: options.Set = None,
    name: options.StudyName = None,
    storage: options.Storage = None,
    data: options.Data = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Create a study or go on with it, and work until it holds N finished trials.

    Example: kidneyseg-search run --study lr_loss --n-trials 50
    """
    from kidneyseg.cli.display import elapsed_words, stderr_console

    start = time.monotonic()
    choices = Choices(environment, data, set_ or [])
    if workers is not None and workers < 1:
        raise CorrectableError(f"--workers {workers}: expected 1 or more")
    begun = begin(study, n_trials, name, storage, choices)
    console = stderr_console()
    split = begun.cases.split
    console.print(
        f"{len(split.training)} training, {len(split.validation)} validation and "
        f"{len(split.test)} sealed test cases"
    )
    finished = count_finished(begun)
    if finished >= n_trials:
        console.print(f"study {begun.study.name}: {finished} trials are finished; nothing to do")
    else:
        display = build_display(begun, n_trials)
        with display.live():
            address = storage_address(storage, choices.runs)
            _work(begun, display, n_trials, workers, address)
    summarize(begun, console.print)
    console.print(f"took {elapsed_words(start)}")


def _work(
    begun: "BegunStudy",
    display: "SearchDisplay",
    n_trials: int,
    workers: int | None,
    address: str,
) -> None:
    """Work here, or in as many processes as asked for."""
    import torch

    from kidneyseg.search.processes import WorkOrder, work_in_processes
    from kidneyseg.search.worker import work

    environment = begun.cases.environment
    devices = list(_devices(environment, workers))
    if len(devices) == 1:
        with closing(work(begun.workplace(devices[0]), n_trials)) as events:
            for event in events:
                display.show(event)
        return
    threads = max(1, count_cores() // len(devices))
    orders = [
        WorkOrder(
            study=begun.study.name,
            n_trials=n_trials,
            environment=environment,
            device=device,
            threads=threads if device == "cpu" else torch.get_num_threads(),
        )
        for device in devices
    ]
    with closing(work_in_processes(address, orders)) as told:
        for each in told:
            display.show(each.event)


def _devices(environment: Environment, workers: int | None) -> Iterator[str]:
    """The device of each worker: GPUs in turn, or the CPU."""
    import torch

    named = environment.common.device
    n_gpus = torch.cuda.device_count()
    for number in range(workers if workers is not None else max(1, n_gpus)):
        if named != "auto":
            yield named
        else:
            yield f"cuda:{number % n_gpus}" if n_gpus else "cpu"
