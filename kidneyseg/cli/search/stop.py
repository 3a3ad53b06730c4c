"""`kidneyseg-search stop`: no new trials."""

from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import machine_choices, storage_address
from kidneyseg.errors import KidneysegError

if TYPE_CHECKING:
    from kidneyseg.search.storage import Storage
    from kidneyseg.search.study_status import RunningTrial, StudyStatus

REASON = "stopped with kidneyseg-search stop"


def stop(
    study: options.Study,
    now: Annotated[
        bool, typer.Option("--now", help="Hand the running trials back, too, and wait for it.")
    ] = False,
    storage: options.Storage = None,
    environment: options.EnvironmentName = "local",
    set_: options.MachineSet = None,
) -> None:
    """Let no new trial begin. `run` or `submit` has the study go on.

    Example: kidneyseg-search stop --study lr_loss --now
    """
    from kidneyseg.search.status import read_status
    from kidneyseg.search.stopping import stop_study
    from kidneyseg.search.storage import open_storage

    runs = machine_choices(environment, None, set_).runs
    opened = open_storage(storage_address(storage, runs), create=False)
    typer.echo(_what_it_does(read_status(opened, study), now=now))
    stop_study(opened, study, REASON, now=now)
    if now:
        _wait(opened, study)


def _what_it_does(status: "StudyStatus", *, now: bool) -> str:
    from kidneyseg.cli.status_text import counted

    n = status.states["running"]
    running = "" if not n else f"; {counted(n, 'running trial')} {_fate(n, now=now)}"
    return (
        f"study {status.study}, {status.finished} of {counted(status.n_trials, 'trial')} finished: "
        f"no new trial begins{running}; run or submit has it go on"
    )


def _fate(n: int, *, now: bool) -> str:
    if now:
        return "is handed back" if n == 1 else "are handed back"
    return f"go{'es' * (n == 1)} on to {'its' if n == 1 else 'their'} end (--now: handed back)"


def _wait(storage: "Storage", study: str) -> None:
    """Tell whenever a trial was handed back. Raises KidneysegError that names those left."""
    from kidneyseg.cli.status_text import counted
    from kidneyseg.search.stopping import WAIT_SECONDS, wait_until_idle

    held: list[RunningTrial] | None = None
    for status in wait_until_idle(storage, study):
        if held is None or len(status.held) < len(held):
            n = len(status.held)
            typer.echo(f"{counted(n, 'trial')} still running" if n else "no worker holds a trial")
        held = status.held
    if held:
        left = ", ".join(f"trial {trial.trial} ({trial.worker})" for trial in held)
        raise KidneysegError(
            f"study {study!r}: after {WAIT_SECONDS / 60:.0f} minutes still running: {left}; end "
            "these workers, and any other worker takes their trials up"
        )
