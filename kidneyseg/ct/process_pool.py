"""Work on many things at a time in processes that may die without taking the others along.

The pools of the standard library cannot say whose work killed a process; here each process works on
one thing at a time, and a process that dies (the system may end one for its memory) is an answer.
"""

import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, resource_tracker
from typing import Generic, TypeVar

import psutil

from kidneyseg.cores import count_cores

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Died:
    """The answer of a process that ended before it gave one."""

    exit_code: int | None  # negative: the signal that ended it


def count_processes(n_items: int, memory_each: int) -> int:
    """How many processes to use: for every core one, as far as memory (bytes) allows."""
    by_memory = psutil.virtual_memory().available // memory_each
    return max(1, min(n_items, count_cores(), int(by_memory)))


def work_on_each(
    work: Callable[[T], R], items: Sequence[T], n_processes: int
) -> Generator[tuple[T, R | Died], None, None]:
    """Yield each item with `work(item)`, in the order in which they are done.

    Raises what `work` raises. Stopped early, it ends its processes.
    """
    waiting = list(reversed(items))
    busy: dict[connection.Connection, tuple[_Process[T, R], T]] = {}
    idle: list[_Process[T, R]] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < n_processes:
                process = idle.pop() if idle else _Process(work)
                item = waiting.pop()
                busy[process.pipe] = process, item
                process.give(item)
            for pipe in connection.wait(list(busy)):
                process, item = busy.pop(pipe)  # type: ignore[call-overload]
                answer = process.take()
                if not isinstance(answer, Died):
                    idle.append(process)
                yield item, answer
    finally:
        for process in (*idle, *(process for process, _ in busy.values())):
            process.end()


class _Process(Generic[T, R]):
    """One process and the pipe to it."""

    def __init__(self, work: Callable[[T], R]) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        resource_tracker.ensure_running()  # starting it unblocks interrupts: it must run already
        with _interrupts_blocked():
            self._process.start()
        theirs.close()  # so that its end is seen here

    def give(self, item: T) -> None:
        with suppress(BrokenPipeError):  # it died already: take() says so
            self.pipe.send(item)

    def take(self) -> R | Died:
        try:
            answer, error = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.pipe.close()
            self._process.join()
            return Died(self._process.exitcode)
        if error is not None:
            self.end()
            raise error
        done: R = answer
        return done

    def end(self) -> None:
        self.pipe.close()
        self._process.terminate()
        self._process.join()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """What is started here never sees Ctrl-C: it reaches the parent too, which ends the others.

    Blocked and not ignored: one that comes meanwhile reaches the parent at the end of the block.
    Where another thread (of numpy, say) takes it meanwhile, it waits for the end all the same: a
    process half started would end in a traceback.
    """
    taken: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if handler is not None:
        signal.signal(signal.SIGINT, lambda number, _: taken.append(number))
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if taken:
            signal.raise_signal(signal.SIGINT)


def _serve(pipe: connection.Connection, work: Callable[[T], R]) -> None:
    """Be one of the processes."""
    with suppress(EOFError, BrokenPipeError):  # the parent is gone
        while True:
            item = pipe.recv()
            try:
                answer = work(item), None
            except Exception as error:  # noqa: BLE001 - raised again in the parent
                pipe.send((None, error))
            else:
                pipe.send(answer)
