"""The job script, run by bash with stand-ins for Slurm and for the worker."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docker.commands import DOCKER, our_commands, parse
from tests.machine import find_program

SCRIPT = DOCKER / "slurm" / "kidneyseg.sbatch"
WORKER = """#!/bin/bash
echo "$@" > arguments
env > environment
hand_back() { sleep 0.3; touch handed_back; exit 143; }
trap hand_back TERM
touch begun
for _ in $(seq 300); do [ -e done ] && exit "$(cat done)"; sleep 0.05; done
exit 99
"""
SCONTROL = """#!/bin/bash
echo "$@" >> scontrol
"""


def directives() -> dict[str, str]:
    return dict(
        re.findall(
            r"^#SBATCH --([a-z-]+)(?:=(.*))?$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE
        )
    )


def make_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the script as Slurm does, in an empty folder."""
    make_program(tmp_path / ".venv" / "bin" / "kidneyseg-search", WORKER)
    make_program(tmp_path / "bin" / "scontrol", SCONTROL)

    def start(**more: str) -> subprocess.Popen[str]:
        variables = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "HOME": "/home/somebody",
            "SLURM_JOB_ID": "1234",
            "SLURM_CPUS_PER_TASK": "8",
            "KIDNEYSEG_STUDY": "lr_loss",
            "KIDNEYSEG_DATA": "/data/my scans",
            **more,
        }
        return subprocess.Popen(
            ["bash", SCRIPT],
            cwd=tmp_path,
            env={name: value for name, value in variables.items() if value},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    return start


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def ended(job: subprocess.Popen[str]) -> int:
    job.communicate(timeout=30)
    return job.returncode


def test_bash_reads_it() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)


def test_shellcheck_has_nothing_to_say() -> None:
    shellcheck = find_program("shellcheck")
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout


def test_its_command_exists_with_its_options() -> None:
    (line,) = our_commands(SCRIPT.read_text(encoding="utf-8"))
    assert parse(line) == "worker"


def test_slurm_is_told_to_warn_the_shell_and_to_queue_again() -> None:
    told = directives()
    assert told["signal"] == "B:USR1@120"
    assert "requeue" in told
    assert told["open-mode"] == "append"  # the log goes on after a requeue
    assert told["gpus"] == "1"
    assert re.fullmatch(r"1-\d+", told["array"])
    assert "%A_%a" in told["output"]
    text = SCRIPT.read_text(encoding="utf-8")
    code = [line for line in text.splitlines() if line and not line.startswith("#")]
    # Slurm reads no directive after the first command.
    assert text.rindex("#SBATCH") < text.index(f"\n{code[0]}\n")


def test_time_that_runs_out_hands_back_first_and_queues_again_then(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    running = job()
    wait_for(tmp_path / "begun")
    running.send_signal(signal.SIGUSR1)
    assert ended(running) == 143
    assert (tmp_path / "handed_back").exists()
    assert (tmp_path / "scontrol").read_text(encoding="utf-8") == "requeue 1234\n"


def test_a_job_that_is_canceled_hands_back_and_is_not_queued_again(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    running = job()
    wait_for(tmp_path / "begun")
    running.send_signal(signal.SIGTERM)
    assert ended(running) == 143
    assert (tmp_path / "handed_back").exists()
    assert not (tmp_path / "scontrol").exists()


def test_a_warning_and_a_termination_together_wait_for_the_worker(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    running = job()
    wait_for(tmp_path / "begun")
    running.send_signal(signal.SIGUSR1)
    running.send_signal(signal.SIGTERM)
    assert ended(running) == 143
    assert (tmp_path / "handed_back").exists()


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_worker_that_ends_by_itself_ends_the_job_with_its_code(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path, code: int
) -> None:
    (tmp_path / "done").write_text(str(code), encoding="utf-8")
    assert ended(job()) == code
    assert not (tmp_path / "scontrol").exists()


def test_the_worker_gets_the_study_the_data_and_the_cores(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    (tmp_path / "done").write_text("0", encoding="utf-8")
    assert ended(job()) == 0
    arguments = (tmp_path / "arguments").read_text(encoding="utf-8").strip()
    assert arguments.startswith(
        "worker --study lr_loss --data /data/my scans --environment cluster"
    )
    environment = (tmp_path / "environment").read_text(encoding="utf-8").splitlines()
    assert "OMP_NUM_THREADS=8" in environment
    assert "KIDNEYSEG_STORAGE_FILE=/home/somebody/.config/kidneyseg/storage" in environment


@pytest.mark.parametrize("missing", ["KIDNEYSEG_STUDY", "KIDNEYSEG_DATA"])
def test_what_is_missing_is_named_before_anything_starts(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path, missing: str
) -> None:
    running = job(**{missing: ""})
    output, _ = running.communicate(timeout=30)
    assert running.returncode != 0
    assert missing in output
    assert not (tmp_path / "begun").exists()
