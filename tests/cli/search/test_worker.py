"""A worker as a service: told in JSON, counted for Prometheus, ended by a signal, with a GPU."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

import pytest

from kidneyseg.cli.main import kidneyseg_search
from kidneyseg.errors import StudyError
from kidneyseg.search import gpu_claims

TINY = ["--set=data.downsampling=2", "--set=data.slice_size=[32,32]", "--set=network.filters=4"]


def submit(data: Path, *more: str) -> None:
    arguments = ["submit", "--study", "lr_loss", "--n-trials", "1", "--data", str(data)]
    assert kidneyseg_search([*arguments, *TINY, *more]) == 0


def test_run_in_json_is_lines_of_json_on_stderr_and_nothing_else(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--study", "lr_loss", "--n-trials", "1", "--data", str(tiny_data)]
    log = ["--log-format", "json", "--set=training.max_epochs=1"]
    assert kidneyseg_search([*arguments, *TINY, *log]) == 0
    caught = capsys.readouterr()
    assert caught.out == ""
    told = [json.loads(line) for line in caught.err.splitlines()]
    events = [line["event"] for line in told]
    first = events.index("TrialStarted")
    assert events[first : first + 3] == ["TrialStarted", "EpochFinished", "TrialFinished"]
    assert {*events[:first], *events[first + 3 :]} == {"Message"}
    assert "cases prepared: 4" in [line["message"] for line in told[:first]]
    assert all({"time", "level", "study", "worker", "trial"} <= set(line) for line in told)
    assert {line["study"] for line in told} == {"lr_loss"}


def told_in_json(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    caught = capsys.readouterr()
    assert caught.out == ""
    return [json.loads(line) for line in caught.err.splitlines()]


def test_a_worker_s_lines_of_json_name_the_study(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(tiny_data, "--set=training.max_epochs=1")
    capsys.readouterr()
    assert kidneyseg_search(["worker", "--data", str(tiny_data), "--log-format=json"]) == 0
    told = told_in_json(capsys)
    assert {line["study"] for line in told} == {"lr_loss"}
    assert {"Message", "TrialStarted", "TrialFinished"} <= {line["event"] for line in told}


@pytest.mark.parametrize(
    ("arguments", "study", "words"),
    [
        (
            ("run", "--study", "lr_loss", "--n-trials", "none"),
            None,
            "Invalid value for '--n-trials'",
        ),
        (("run", "--study", "lr_loss", "--n-trials", "1", "--data", "x"), "lr_loss", "x: "),
        (("worker", "--study", "mine", "--data", "x"), "mine", "no such database"),
    ],
)
def test_an_error_is_a_line_of_json_too(
    workplace: Path,
    arguments: tuple[str, ...],
    study: str | None,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert kidneyseg_search([*arguments, "--log-format", "json"]) == 2
    (line,) = told_in_json(capsys)
    assert (line["level"], line["study"], line["event"]) == ("error", study, "Message")
    assert str(line["message"]).startswith("kidneyseg-search: ")
    assert words in str(line["message"])


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Reasons for which the studies are left out, look by look; Ctrl-C after the last one."""
    reasons = ["no scan", "no scan", "no key", "no key"]
    left = list(reasons)

    def sleep(_seconds: float) -> None:
        left.pop(0)
        if not left:
            raise KeyboardInterrupt

    def refuse(*_: object) -> None:
        raise StudyError(left[0])

    monkeypatch.setattr("kidneyseg.cli.search.worker.time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr("kidneyseg.search.service.join_study", refuse)
    return reasons


@pytest.mark.usefixtures("looks")
def test_a_study_that_is_left_out_is_told_when_the_reason_changes_and_the_wait_once(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(tiny_data)
    capsys.readouterr()
    waiting = ["worker", "--wait", "--data", str(tiny_data)]
    assert kidneyseg_search([*waiting, "--log-format", "json"]) == 130
    told = [(line["level"], line["study"], line["message"]) for line in told_in_json(capsys)]
    assert told == [
        ("warning", "lr_loss", "left out: study 'lr_loss': no scan"),
        ("info", None, "waiting for studies"),
        ("warning", "lr_loss", "left out: study 'lr_loss': no key"),
        ("error", None, "kidneyseg-search: interrupted; the same command goes on"),
    ]


def test_the_wait_is_told_again_after_work(
    workplace: Path,
    tiny_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    looks = iter(range(4))

    def sleep(_seconds: float) -> None:
        look = next(looks)
        if look == 1:
            submit(tiny_data, "--set=training.max_epochs=1")
        if look == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("kidneyseg.cli.search.worker.time", SimpleNamespace(sleep=sleep))
    assert kidneyseg_search(["worker", "--wait", "--data", str(tiny_data)]) == 130
    lines = capsys.readouterr().err.splitlines()
    waits = [number for number, line in enumerate(lines) if line == "waiting for studies"]
    assert len(waits) == 2
    (complete,) = [number for number, line in enumerate(lines) if "trial   0  complete" in line]
    assert waits[0] < complete < waits[1]


@pytest.mark.parametrize("more", [(), ("--wait",)])
def test_a_study_is_looked_up_before_phantoms_are_made(
    workplace: Path, tiny_data: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    submit(tiny_data)
    capsys.readouterr()
    assert kidneyseg_search(["worker", "--study", "nope", *more]) == 2
    assert "study 'nope': not in sqlite:///runs/studies.db" in capsys.readouterr().err
    assert not Path("runs/phantom").exists()


def test_a_device_is_claimed_for_as_long_as_the_worker_works(
    workplace: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(tiny_data, "--set=training.max_epochs=1")
    monkeypatch.setattr(gpu_claims, "visible_gpus", lambda: ["one"])
    other = gpu_claims.claim_gpu(Path("runs") / "gpu-locks", ["one"])
    assert other is not None
    worker = ["worker", "--study", "lr_loss", "--data", str(tiny_data), "--device", "claim"]
    assert kidneyseg_search(worker) == 2
    other.release()
    monkeypatch.setattr(gpu_claims, "visible_gpus", list)
    assert kidneyseg_search(worker) == 0  # on the CPU: there is no GPU to claim


@pytest.fixture
def endless_worker(
    workplace: Path, tiny_data: Path
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A worker of a trial without end, and the port of its metrics."""
    submit(tiny_data, "--set=training.max_epochs=100000", "--set=training.patience=100000")
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    code = (
        "import sys; from kidneyseg.cli.main import kidneyseg_search; sys.exit(kidneyseg_search())"
    )
    options = ["--data", str(tiny_data), "--wait", f"--metrics-port={port}"]
    with subprocess.Popen(
        [sys.executable, "-c", code, "worker", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    ) as process:
        yield process, port
        process.kill()


def test_metrics_count_while_it_works_and_the_warning_of_a_scheduler_hands_back(
    endless_worker: tuple[subprocess.Popen[bytes], int], capsys: pytest.CaptureFixture[str]
) -> None:
    process, port = endless_worker
    deadline = time.monotonic() + 60
    text = ""
    while 'kidneyseg_epoch_seconds_count{study="lr_loss"}' not in text:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
        with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    assert 'kidneyseg_running_trials{study="lr_loss"} 1.0' in text
    assert "kidneyseg_database_away 0.0" in text
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 143
    capsys.readouterr()
    assert kidneyseg_search(["status", "--study", "lr_loss", "--json"]) == 0
    states = json.loads(capsys.readouterr().out)["states"]
    assert (states["waiting"], states["running"]) == (1, 0)
