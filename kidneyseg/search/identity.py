"""Who a worker is: told apart from every other on any machine and in any container."""

import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil

from kidneyseg.provenance import host_name

ALIVE_SECONDS = 90.0  # a worker not seen for longer counts as gone, for people; it is seen each 15


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """A worker: a place in a process of a machine."""

    host: str
    machine: str  # boot and process namespace: where a process number means something
    pid: int
    started: float  # when the process started: ticks since boot, where the system tells them
    place: int = 0  # of several workers in one process; last in the text (`crew.py`)

    def __str__(self) -> str:
        return f"{self.host} {self.machine} {self.pid} {self.started:.2f} {self.place}"

    @classmethod
    def parse(cls, text: str) -> "WorkerIdentity | None":
        """Read what `str` wrote; None for anything else."""
        try:
            host, machine, pid, started, *place = text.split(" ")
            return cls(
                host=host,
                machine=machine,
                pid=int(pid),
                started=float(started),
                place=int(place[0]) if place else 0,
            )
        except ValueError:
            return None

    @classmethod
    def mine(cls, place: int = 0) -> "WorkerIdentity":
        """Identify a worker of the process that asks."""
        process = psutil.Process()
        return cls(
            host=host_name(),
            machine=machine_identity(),
            pid=process.pid,
            started=_started(process),
            place=place,
        )

    def is_gone(self) -> bool:
        """Whether the process ran here and runs no more. False where that cannot be known."""
        if self.machine != machine_identity() or self.host != host_name():
            return False
        try:
            process = psutil.Process(self.pid)
            alive = process.status() != psutil.STATUS_ZOMBIE
            return not alive or _started(process) != self.started
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


def machine_identity() -> str:
    """Names the boot and the process namespace of this machine, where the system tells them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{uuid.getnode():x}:{psutil.boot_time():.0f}"


def _started(process: psutil.Process) -> float:
    """When a process started, by a clock that nobody sets."""
    try:
        fields = (
            Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        )
        return float(fields[19])
    except OSError:
        return round(process.create_time())
