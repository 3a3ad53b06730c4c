"""Several workers of one machine on one study: a thread each, which waits for its training process.

They share one process and its few connections to the database.
"""

import multiprocessing
import queue
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from kidneyseg.errors import Terminated
from kidneyseg.search.events import Event
from kidneyseg.search.objective import Workplace
from kidneyseg.search.worker import work

LEAVE_SECONDS = 30.0  # that workers may take to hand their trials back


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEvent:
    """An event and which worker, from 0, it comes from."""

    worker: int
    event: Event


@dataclass(frozen=True, slots=True)
class _End:
    """A worker's last word."""

    error: BaseException | None


def work_together(
    workplaces: Sequence[Workplace], n_trials: int | None = None
) -> Generator[WorkerEvent, None, None]:
    """Run a worker at every workplace and yield what happens until all are done.

    Stopped early (Ctrl-C, SIGTERM, or the generator closed), all hand their trials back first.
    Raises what the first worker raised that failed, after the others have finished the work.
    """
    told: queue.SimpleQueue[WorkerEvent | _End] = queue.SimpleQueue()
    threads = [
        threading.Thread(target=_work, args=(workplace, n_trials, told), daemon=True)
        for workplace in workplaces
    ]
    running, failure = len(threads), None
    try:
        for thread in threads:
            thread.start()
        while running:
            item = told.get()
            if isinstance(item, _End):
                running -= 1
                failure = failure or item.error
            else:
                yield item
    except BaseException:
        for workplace in workplaces:
            workplace.stopping.set()
            workplace.study.storage.patience.hurry()
        raise
    finally:
        _join(threads)
    if failure is not None:
        raise failure


def _join(threads: Sequence[threading.Thread]) -> None:
    """Wait until all are through. Another SIGTERM changes nothing; another Ctrl-C is obeyed.

    A database that hangs, and neither answers nor ends, does not hold them for ever: their trials
    are then found by others, like those of a worker that was killed.
    """
    deadline = time.monotonic() + LEAVE_SECONDS
    while waiting := [thread for thread in threads if thread.is_alive()]:
        with suppress(Terminated):
            waiting[0].join(timeout=1)
        if time.monotonic() > deadline:
            for process in multiprocessing.active_children():
                process.kill()
            return


def _work(
    workplace: Workplace,
    n_trials: int | None,
    told: "queue.SimpleQueue[WorkerEvent | _End]",
) -> None:
    try:
        with closing(work(workplace, n_trials)) as events:
            for event in events:
                told.put(WorkerEvent(worker=workplace.place, event=event))
    except BaseException as error:  # noqa: BLE001 - raised again where the workers were started
        told.put(_End(error))
    else:
        told.put(_End(None))
