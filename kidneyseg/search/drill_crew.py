"""The worker processes of a drill, and what happens to them."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum

import psutil

from kidneyseg.runs import STORAGE_VARIABLE
from kidneyseg.search.drill_worker import DrillOrder

FROZEN_SECONDS = 12.0  # longer than the grace: the trial is somebody else's on waking


class Fault(StrEnum):
    """What happens to a worker."""

    KILL = "worker killed"
    KILL_TRAINING = "training process killed"
    TERMINATE = "worker terminated"
    FREEZE = "worker frozen and woken"


class Crew:
    """The worker processes of a drill."""

    def __init__(
        self,
        order: DrillOrder,
        address: str,
        n_processes: int,
        variables: Sequence[Mapping[str, str]],
    ) -> None:
        self._order = order
        self._address = address
        self._variables = [variables[place % len(variables)] for place in range(n_processes)]
        self._processes = [self._start(place) for place in range(n_processes)]

    def is_through(self) -> bool:
        """Whether every process has ended because the work is done."""
        return all(process.poll() == 0 for process in self._processes)

    def replace_dead(self) -> None:
        """Start a process for each that ended without being through."""
        for place, process in enumerate(self._processes):
            if process.poll() not in (None, 0):
                self._processes[place] = self._start(place)

    def start_again(self) -> None:
        """Start every process that has ended."""
        for place, process in enumerate(self._processes):
            if process.poll() is not None:
                self._processes[place] = self._start(place)

    def strike(self, fault: Fault, chance: random.Random, spared: Collection[int]) -> bool:
        """Do it to a process that trains, none of the `spared` ones; whether there was one."""
        free = [process for process in self._processes if process.pid not in spared]
        training = [process for process in free if _trainings(process)]
        if not training:
            return False
        process = chance.choice(training)
        match fault:
            case Fault.KILL:
                process.kill()
            case Fault.TERMINATE:
                process.terminate()
            case Fault.KILL_TRAINING:
                with suppress(psutil.NoSuchProcess, IndexError):
                    chance.choice(_trainings(process)).kill()
            case Fault.FREEZE:
                process.send_signal(signal.SIGSTOP)
                time.sleep(FROZEN_SECONDS)
                process.send_signal(signal.SIGCONT)
        return True

    def end(self) -> None:
        """End all of them."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def _start(self, place: int) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "kidneyseg.search.drill_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            # The address may hold a password: never an argument, which `ps` shows.
            env={**os.environ, **self._variables[place], STORAGE_VARIABLE: self._address},
            start_new_session=True,
        )
        if process.stdin is not None:
            process.stdin.write(self._order.model_dump_json())
            process.stdin.close()
        return process


def _trainings(process: "subprocess.Popen[str]") -> Sequence[psutil.Process]:
    """The training processes of a worker process: the children of its fork server."""
    try:
        servers = psutil.Process(process.pid).children()
        return [child for server in servers for child in server.children()]
    except psutil.NoSuchProcess:
        return []


@contextmanager
def drill_crew(
    order: DrillOrder, address: str, n_processes: int, variables: Sequence[Mapping[str, str]]
) -> Iterator[Crew]:
    """Start the processes; end those that are left when the block is left."""
    crew = Crew(order, address, n_processes, variables)
    try:
        yield crew
    finally:
        crew.end()
