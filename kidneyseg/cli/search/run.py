"""`kidneyseg-search run`: create a study or go on with it, and work on it."""

import time
from typing import Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.json_log import LogFormat
from kidneyseg.cli.options import Choices
from kidneyseg.cli.search.begin import (
    begin,
    choose_devices,
    count_finished,
    summarize,
    work_here,
)
from kidneyseg.cli.telling import say


def run(
    study: options.StudyFile,
    n_trials: options.NTrials,
    workers: Annotated[
        int | None, typer.Option(help="Trials at a time. Default: one per GPU, else one.")
    ] = None,
    workers_per_gpu: Annotated[
        int, typer.Option(help="Trials at a time on each GPU, for small networks.")
    ] = 1,
    _log_format: options.LogFormatOption = LogFormat.TEXT,
    set_: options.Set = None,
    name: options.StudyName = None,
    storage: options.Storage = None,
    data: options.Data = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Create a study or go on with it, and work until it holds N finished trials.

    Example: kidneyseg-search run --study lr_loss --n-trials 50
    """
    from kidneyseg.cli.display import elapsed_words

    start = time.monotonic()
    choices = Choices(environment, data, set_ or [])
    devices = choose_devices(choices.environment.common.device, workers, workers_per_gpu)
    begun = begin(study, n_trials, name, storage, choices)
    split = begun.cases.split
    say(
        f"{len(split.training)} training, {len(split.validation)} validation and "
        f"{len(split.test)} sealed test cases"
    )
    finished = count_finished(begun)
    if finished >= n_trials:
        say(f"study {begun.study.name}: {finished} trials are finished; nothing to do")
    else:
        work_here(begun, devices, n_trials)
    summarize(begun)
    say(f"took {elapsed_words(start)}")
