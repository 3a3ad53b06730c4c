"""Several workers on one machine: a process each, orders on stdin, events on stdout.

The database address goes through the environment, never through arguments, which `ps` shows.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import IO

from kidneyseg.errors import CorrectableError, ExitCode, KidneysegError, Terminated
from kidneyseg.search.events import Event, from_json, to_json
from kidneyseg.settings import Environment, Part

STORAGE_VARIABLE = "KIDNEYSEG_STORAGE"


class WorkOrder(Part):
    """What a worker process is told."""

    study: str
    n_trials: int
    environment: Environment
    device: str
    threads: int  # of the processor


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEvent:
    """An event and which worker, from 0, it comes from."""

    worker: int
    event: Event


def work_in_processes(
    address: str, orders: Sequence[WorkOrder]
) -> Generator[WorkerEvent, None, None]:
    """Run a process for every order and yield their events until all are done.

    Stopped early, it asks the processes to hand their trials back and waits until they have.
    Raises KidneysegError with a worker's own words when one fails; the others finish the work.
    """
    lines: queue.Queue[tuple[int, str | None]] = queue.Queue()
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(address, order)) for order in orders]
        for number, worker in enumerate(workers):
            _forward(number, worker.process, lines)
        running = len(workers)
        try:
            while running:
                number, line = lines.get()
                if line is None:
                    running -= 1
                else:
                    yield WorkerEvent(worker=number, event=from_json(line))
        finally:
            for worker in workers:
                worker.stop()
        for worker in workers:
            worker.raise_failure()


def serve_order(stdin: IO[str], stdout: IO[str]) -> None:
    """Be a worker process: read an order, work, write events.

    Raises what `work` raises.
    """
    import torch

    from kidneyseg.search.service import join_study
    from kidneyseg.search.storage import open_storage
    from kidneyseg.search.worker import work

    order = WorkOrder.model_validate_json(stdin.read())
    torch.set_num_threads(order.threads)
    storage = open_storage(os.environ[STORAGE_VARIABLE])
    begun = join_study(storage, order.study, order.environment)
    with closing(work(begun.workplace(order.device), order.n_trials)) as events:
        for event in events:
            stdout.write(to_json(event) + "\n")
            stdout.flush()


def main() -> int:
    """The entry of a worker process; errors go to stderr as JSON, for the parent."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        serve_order(sys.stdin, sys.stdout)
    except (KeyboardInterrupt, Terminated, BrokenPipeError):
        return ExitCode.INTERRUPTED
    except KidneysegError as error:
        sys.stderr.write(json.dumps({"error": str(error)}) + "\n")
        return error.exit_code
    return ExitCode.DONE


@dataclass(frozen=True, slots=True)
class _Worker:
    """A running worker process and the file that takes what it says on stderr."""

    process: subprocess.Popen[str]
    stderr: IO[str]

    def stop(self) -> None:
        """Ask it to hand its trial back and end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def raise_failure(self) -> None:
        """Wait for its end. Raises KidneysegError with its own last words where it failed."""
        code = self.process.wait()
        if code == ExitCode.DONE:
            return
        self.stderr.seek(0)
        words = self.stderr.read().strip()
        last = words.splitlines()[-1] if words else "no message"
        try:
            message = json.loads(last)["error"]
        except (ValueError, KeyError, TypeError):
            message = f"a worker ended with exit code {code}: {last}"
        kind = CorrectableError if code == ExitCode.CORRECTABLE else KidneysegError
        raise kind(message)


@contextmanager
def _worker(address: str, order: WorkOrder) -> Iterator[_Worker]:
    """Start a worker process; at the end ask it to stop, and wait until it has."""
    with (
        tempfile.TemporaryFile("w+") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "kidneyseg.search.processes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, STORAGE_VARIABLE: address},
            # Ctrl-C reaches the parent alone, which then asks its workers one by one.
            start_new_session=True,
        ) as process,
    ):
        if process.stdin is not None:
            process.stdin.write(order.model_dump_json())
            process.stdin.close()
        worker = _Worker(process, stderr)
        try:
            yield worker
        except BaseException:
            worker.stop()
            raise


def _forward(
    number: int, process: subprocess.Popen[str], lines: "queue.Queue[tuple[int, str | None]]"
) -> None:
    """Read a process's lines in a thread; None is its end."""

    def read() -> None:
        for line in process.stdout or ():
            lines.put((number, line))
        lines.put((number, None))

    threading.Thread(target=read, name=f"worker {number}", daemon=True).start()


def _terminate(_signal: int, _frame: object) -> None:
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
