"""A worker is told apart from every other; whether it is gone is said only where it is known."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from kidneyseg.search.identity import WorkerIdentity, machine_identity


def test_an_identity_comes_back_from_its_text() -> None:
    mine = WorkerIdentity.mine(place=3)
    assert WorkerIdentity.parse(str(mine)) == mine
    assert (mine.pid, mine.place) == (os.getpid(), 3)


def test_workers_of_one_process_are_told_apart_by_their_place() -> None:
    assert len({str(WorkerIdentity.mine(place)) for place in range(4)}) == 4


@pytest.mark.parametrize("text", ["", "somebody", "a b c d", "host machine 12", "h m 1 2 x"])
def test_any_other_text_is_nobody(text: str) -> None:
    assert WorkerIdentity.parse(text) is None


def test_an_identity_without_a_place_has_the_first() -> None:
    identity = WorkerIdentity.parse("host machine 7 1.00")
    assert identity == WorkerIdentity(host="host", machine="machine", pid=7, started=1.0)
    assert identity.place == 0


def test_a_process_that_runs_is_not_gone_and_one_that_ended_is(
    dead_worker: WorkerIdentity,
) -> None:
    assert not WorkerIdentity.mine().is_gone()
    assert dead_worker.is_gone()


def test_a_number_that_another_process_has_now_is_gone() -> None:
    mine = WorkerIdentity.mine()
    assert replace(mine, started=mine.started - 1000).is_gone()


def test_a_process_that_ended_but_was_not_waited_for_is_gone() -> None:
    program = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        started = float(_start_field(process.pid))
        identity = replace(WorkerIdentity.mine(), pid=process.pid, started=started)
        assert not identity.is_gone()
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        assert identity.is_gone()


def _start_field(pid: int) -> str:
    """Field 22 of proc(5): when the process started, in ticks since boot."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[22 - 3]


def test_of_another_machine_or_container_nobody_knows(dead_worker: WorkerIdentity) -> None:
    assert not replace(dead_worker, host="elsewhere").is_gone()
    assert not replace(dead_worker, machine="another boot").is_gone()


def test_two_processes_of_a_machine_agree_on_its_name() -> None:
    code = "from kidneyseg.search.identity import machine_identity; print(machine_identity())"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert told.stdout.strip() == machine_identity()
    assert " " not in machine_identity()


def test_a_clock_that_is_set_changes_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    before = WorkerIdentity.mine()
    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr("psutil.boot_time", lambda: 0.0)
    assert WorkerIdentity.mine() == before
