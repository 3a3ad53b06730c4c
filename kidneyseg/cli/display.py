"""What people see while work goes on: live in a terminal, plain lines in a pipe. All on stderr."""

import os
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from kidneyseg.cli.telling import chosen_log, say
from kidneyseg.search.events import (
    EpochFinished,
    Event,
    Stopped,
    TakenOver,
    TrialFinished,
    TrialStarted,
    Waiting,
    Warned,
)

if TYPE_CHECKING:
    from kidneyseg.training.results import EpochResult

T = TypeVar("T")

NOTEBOOK_VARIABLE = "JPY_PARENT_PID"  # set in all that a notebook's kernel starts
LINE_SECONDS = 30.0  # between two lines of progress in a pipe


def stderr_console() -> Console:
    """A console on stderr; plain, and never wrapped, where it is not a terminal.

    A notebook's cell is none: it may claim to be, and does not move the cursor.
    """
    in_notebook = bool(os.environ.get(NOTEBOOK_VARIABLE))
    console = Console(stderr=True, highlight=False, force_terminal=False if in_notebook else None)
    if not console.is_terminal:
        console = Console(stderr=True, highlight=False, soft_wrap=True, force_terminal=False)
    return console


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Pass items on and show how far it is: a bar in a terminal.

    In a pipe and for programs, a line every half minute and a closing one.
    """
    console = stderr_console()
    if total is None and isinstance(items, Sized):
        total = len(items)
    if chosen_log() is not None or not console.is_terminal:
        yield from _track_in_lines(items, what, total)
        return
    with _progress(console) as progress:
        task = progress.add_task(what, total=total)
        for item in items:
            yield item
            progress.advance(task)


def _track_in_lines(items: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    count, told = 0, time.monotonic()
    for item in items:
        count += 1
        yield item
        if time.monotonic() - told >= LINE_SECONDS and count != total:
            told = time.monotonic()
            say(f"{what}: {count}" if total is None else f"{what}: {count} of {total}")
    if count:
        say(f"{what}: {count}")


def show_epochs(epochs: "Iterable[EpochResult]", max_epochs: int) -> None:
    """Print a line for every epoch, above a bar in a terminal."""
    console = stderr_console()
    progress = _progress(console)
    task = progress.add_task("epochs", total=max_epochs, visible=console.is_terminal)
    with progress if console.is_terminal else nullcontext():
        for result in epochs:
            console.print(
                f"epoch {result.epoch}  Dice {result.validation_dice:.4f}  loss "
                f"{result.training_losses.combined:.4f} training, "
                f"{result.validation_losses.combined:.4f} validation  {result.seconds:.1f} s  "
                f"{result.slices_per_second:.0f} slices/s{'  best so far' * result.is_best}",
                markup=False,
            )
            progress.update(task, completed=result.epoch)


class SearchDisplay:
    """Shows a search: a line for every epoch and trial, and what is left."""

    def __init__(
        self, console: Console, n_trials: int, finished: int, best: float | None = None
    ) -> None:
        self._console = console
        self._n_trials = n_trials
        self._best = best  # Dice, over all trials of the study
        self._running: dict[int, EpochFinished | TrialStarted] = {}  # by trial
        self._progress = _progress(console)
        self._task: TaskID = self._progress.add_task(
            "trials", total=n_trials, completed=min(finished, n_trials)
        )

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep the table of running trials below the lines, in a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with Live(get_renderable=self._render, console=self._console, refresh_per_second=4):
            yield

    def show(self, event: Event, _place: int = 0) -> None:
        """Take an event in, and print its line."""
        match event:
            case TrialStarted():
                self._running[event.trial] = event
                values = ", ".join(f"{k} {short(v)}" for k, v in event.hyperparameters.items())
                before = f"  goes on after epoch {event.finished_epochs}"
                more = before if event.finished_epochs else ""
                self._print(f"trial {event.trial:>3}  starts       {values}{more}")
            case EpochFinished():
                self._running[event.trial] = event
                if not self._console.is_terminal:
                    self._print(_epoch_line(event))
            case TrialFinished():
                self._finish(event)
            case TakenOver():
                self._print(
                    f"trial {event.trial:>3}  the same as trial {event.source}: its result is "
                    "taken over"
                )
            case Warned():
                self._print(f"trial {event.trial:>3}  warns        {event.message}")
            case Stopped():
                self._print(f"stopped: {event.reason}")
            case Waiting():
                self._print(f"waiting for {event.running} running trials of other workers")

    def _finish(self, event: TrialFinished) -> None:
        self._running.pop(event.trial, None)
        self._n_trials = event.n_trials  # it may be raised meanwhile
        self._progress.update(
            self._task, completed=min(event.finished, event.n_trials), total=event.n_trials
        )
        dice = "" if event.dice is None else f"Dice {event.dice:.4f}"
        if event.state == "COMPLETE" and event.dice is not None:
            if self._best is None or event.dice > self._best:
                self._best = event.dice
                dice += "  best so far"
            word = "complete"
        elif event.state == "PRUNED":
            word = "pruned"
        else:
            word, dice = "failed", event.reason
        left = max(0, self._n_trials - event.finished)
        self._print(
            f"trial {event.trial:>3}  {word:<9} after epoch {event.epochs}  {dice}  [{left} left]"
        )

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False)

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("trial", "epoch", "Dice", "best", "loss", "s/epoch"):
            table.add_column(name, justify="right")
        for trial, event in sorted(self._running.items()):
            if isinstance(event, EpochFinished):
                table.add_row(
                    str(trial),
                    f"{event.epoch}/{event.max_epochs}",
                    f"{event.dice:.4f}",
                    f"{event.best_dice:.4f}",
                    f"{event.loss:.4f}",
                    f"{event.seconds:.1f}",
                )
            else:
                table.add_row(str(trial), "1st", "", "", "", "")
        return Group(table, self._progress)


def _epoch_line(event: EpochFinished) -> str:
    return (
        f"trial {event.trial:>3}  epoch {event.epoch}/{event.max_epochs}"
        f"    Dice {event.dice:.4f}  loss {event.loss:.4f}  {event.seconds:.1f} s"
    )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def short(value: object) -> str:
    """A hyper-parameter's value in a line."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def elapsed_words(start: float) -> str:
    """Time since `start` (`time.monotonic`), as people say it."""
    seconds = time.monotonic() - start
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min"
