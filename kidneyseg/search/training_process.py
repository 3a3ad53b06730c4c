"""A worker's side of the process that trains its trial: start, listen, limit, end.

Processes come from a server that has imported torch and nothing else done: they start at once.
"""

import multiprocessing
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import psutil

from kidneyseg.errors import KidneysegError
from kidneyseg.search.limits import Limits
from kidneyseg.search.trial_order import (
    END,
    FOR_THE_WORKER,
    GO_ON,
    AnyMessage,
    Message,
    TrialOrder,
    Written,
)

MODULE = "kidneyseg.search.trial_process"
LOOK_SECONDS = 0.2  # between two looks at what is not a message
GONE_SECONDS = 60.0  # that a process which was killed may take to end


class TrialProcessDiedError(KidneysegError):
    """The process of a trial ended without a word: killed, or crashed."""


class LimitExceededError(KidneysegError):
    """A trial took more time or memory than it may."""


class TrainingProcess:
    """A running process that trains one trial."""

    def __init__(self, process: BaseProcess, pipe: Connection, limits: Limits) -> None:
        self._process = process
        self._pipe = pipe
        self._limits = limits
        self._start = self._heard = time.monotonic()
        self._is_through = False  # by its own word, or by ours

    def messages(self) -> Iterator[Message | None]:
        """Yield what the process tells, and None now and then so that others may be looked at.

        Ends with the process, once it is through; what it does after that word, a crash in a
        driver's own end, say, takes nothing away. Raises TrialProcessDiedError when it died,
        LimitExceededError when it took too much.
        """
        while True:
            self._check_limits()
            if not self._pipe.poll(LOOK_SECONDS):
                yield None
                continue
            try:
                line = self._pipe.recv_bytes()
            except (EOFError, ConnectionResetError):
                self._check_end()
                return
            message = AnyMessage.model_validate_json(line).root
            if not isinstance(message, Written):  # a library may write on while the training hangs
                self._heard = time.monotonic()
            yield message

    def go_on(self) -> None:
        """Let it train the next epoch."""
        with suppress(BrokenPipeError):  # it died: messages() says so
            self._pipe.send_bytes(GO_ON)
        now = time.monotonic()
        self._start += now - self._heard  # that it waited for its worker is not its own time
        self._heard = now

    def count_in(self, seconds: float) -> None:
        """Count time that the trial took under earlier numbers towards its limit."""
        self._start -= seconds

    def finish(self) -> None:
        """Let it close its files and end; messages() ends with it."""
        self._is_through = True
        with suppress(BrokenPipeError):
            self._pipe.send_bytes(END)

    def kill(self) -> None:
        """End it, whatever it does, and wait until it is gone, or hangs in a driver for good."""
        self._pipe.close()
        self._process.kill()
        self._process.join(GONE_SECONDS)

    def _check_end(self) -> None:
        self._process.join(GONE_SECONDS)
        code = self._process.exitcode
        if code == 0 or self._is_through:
            return
        raise TrialProcessDiedError(f"its process {_death(code)}")

    def _check_limits(self) -> None:
        now, limits = time.monotonic(), self._limits
        if limits.hours is not None and now - self._start > limits.hours * 3600:
            raise LimitExceededError(
                f"took longer than the study allows (limits.hours = {limits.hours:g})"
            )
        silent = now - self._heard
        if silent > limits.silent_hours * 3600:
            raise TrialProcessDiedError(f"its process said nothing for {silent / 60:.0f} minutes")
        if limits.memory_gb is None:
            return
        taken = _memory_bytes(self._process.pid) / 1e9
        if taken > limits.memory_gb:
            raise LimitExceededError(
                f"took {taken:.1f} GB of memory, more than the study allows (limits.memory_gb = "
                f"{limits.memory_gb:g})"
            )


@contextmanager
def training_process(order: TrialOrder, limits: Limits) -> Iterator[TrainingProcess]:
    """Run a process that trains as ordered; at the end of the block it is gone."""
    context = _context()
    ours, theirs = context.Pipe()
    process = context.Process(  # type: ignore[attr-defined]
        target=_train, args=(order.model_dump_json(), theirs), daemon=True
    )
    resource_tracker.ensure_running()  # which would unblock them again
    with _signals_blocked():  # what is started here never sees a signal meant for its parent
        process.start()
    theirs.close()  # so that its end is seen here
    running = TrainingProcess(process, ours, limits)
    try:
        yield running
    finally:
        running.kill()


def _train(order_json: str, pipe: Connection) -> None:
    """Be the process."""
    from kidneyseg.search.trial_process import train_trial  # noqa: PLC0415 - it imports torch

    train_trial(order_json, pipe)


def _context() -> multiprocessing.context.BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([MODULE])
    return context


@contextmanager
def _signals_blocked() -> Iterator[None]:
    blocked = {getattr(signal, name) for name in FOR_THE_WORKER if hasattr(signal, name)}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _death(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def _memory_bytes(pid: int | None) -> int:
    """What a process holds for itself: shared maps, such as the cache, are left out."""
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(memory.rss - getattr(memory, "shared", 0))
