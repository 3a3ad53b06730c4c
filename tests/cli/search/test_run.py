"""The main job, as a person gives it: run, go on, status, export."""

import html
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import nibabel as nib
import numpy as np
import optuna
import pytest

from kidneyseg.cli.main import kidneyseg, kidneyseg_search
from kidneyseg.cli.search.begin import choose_devices
from kidneyseg.errors import CorrectableError
from kidneyseg.search.storage import open_storage

TINY = [  # a trial in a fraction of a second
    "--set=data.downsampling=2",
    "--set=data.slice_size=[32,32]",
    "--set=network.filters=4",
]
SHORT = "--set=training.max_epochs=2"
ENDLESS = ["--set=training.max_epochs=100000", "--set=training.patience=100000"]


def run(data: Path, n_trials: int, *more: str) -> list[str]:
    return [
        *("run", "--study", "lr_loss", "--n-trials", str(n_trials), "--data", str(data)),
        *TINY,
        *(more if set(ENDLESS) <= set(more) else (SHORT, *more)),
    ]


def status(capsys: pytest.CaptureFixture[str], study: str = "lr_loss") -> dict[str, object]:
    capsys.readouterr()
    assert kidneyseg_search(["status", "--study", study, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_the_main_job_from_scans_to_a_mask(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(run(tiny_data, 3)) == 0
    told = capsys.readouterr()
    assert told.out == ""
    for words in ("3 training, 1 validation and 1 sealed", "trial   0  epoch 1/2", "[0 left]"):
        assert words in told.err
    found = status(capsys)
    assert found["states"] == {
        "complete": 3,
        "pruned": 0,
        "running": 0,
        "waiting": 0,
        "failed": 0,
    }
    assert kidneyseg_search(["export", "--study", "lr_loss", "--out", "best"]) == 0
    model = json.loads(Path("best/model.json").read_text(encoding="utf-8"))
    best = found["best"]
    assert isinstance(best, dict)
    assert model["validation"]["dice"] == best["value"]
    assert model["provenance"]["trial"] == best["number"]
    assert model["hyperparameters"]["learning_rate"] == best["params"]["learning_rate"]
    assert "Validation Dice" in Path("best/README.md").read_text(encoding="utf-8")

    scan = tiny_data / "case_00000" / "imaging.nii.gz"
    assert kidneyseg(["predict", "--model", "best", "-i", str(scan), "-o", "mask.nii.gz"]) == 0
    mask, ct = (nib.Nifti1Image.from_filename(path) for path in ("mask.nii.gz", scan))
    assert mask.shape == ct.shape
    assert np.array_equal(mask.affine, ct.affine)
    assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1}


def test_the_report_s_own_values_are_tried_first(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(run(tiny_data, 1)) == 0
    best = status(capsys)["best"]
    assert isinstance(best, dict)
    assert best["params"] == {"learning_rate": 1e-3, "beta": 0.5}


def test_the_same_command_does_nothing_and_a_larger_number_goes_on(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(run(tiny_data, 2)) == 0
    before = status(capsys)
    assert kidneyseg_search(run(tiny_data, 2)) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert status(capsys) == before
    assert kidneyseg_search(run(tiny_data, 1)) == 0
    assert status(capsys) == before
    assert kidneyseg_search(run(tiny_data, 4)) == 0
    states = status(capsys)["states"]
    assert isinstance(states, dict)
    assert states["complete"] + states["pruned"] == 4


def test_a_study_refuses_other_settings(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(run(tiny_data, 1)) == 0
    capsys.readouterr()
    assert kidneyseg_search(run(tiny_data, 2, "--set=training.patience=1")) == 2
    said = capsys.readouterr().err
    assert "training.patience was 2 and is now 1" in said
    assert "--name" in said


def test_two_workers_share_a_study_and_end_with_exactly_n(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(run(tiny_data, 5, "--workers", "2")) == 0
    found = status(capsys)
    states = found["states"]
    assert isinstance(states, dict)
    assert states["complete"] + states["pruned"] == 5
    assert states["running"] == states["waiting"] == states["failed"] == 0


def test_submit_and_worker_do_the_same_as_run(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(["submit", *run(tiny_data, 2)[1:]]) == 0
    assert "0 of 2 trials" in capsys.readouterr().out
    assert kidneyseg_search(["worker", "--data", str(tiny_data)]) == 0
    found = status(capsys)
    assert found["n_trials"] == 2
    assert isinstance(found["states"], dict)
    assert found["states"]["complete"] == 2


def test_the_commands_of_the_report_page_go_on_with_a_study_of_any_name_and_settings(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["--name", "my-first"]
    assert kidneyseg_search(run(tiny_data, 1, *named)) == 0
    assert kidneyseg_search(["report", "--study", "my-first", "--out", "page.html"]) == 0
    assert kidneyseg_search(["submit", *run(tiny_data, 2, *named)[1:]]) == 0
    page = html.unescape(Path("page.html").read_text(encoding="utf-8"))
    lines = page.split("<pre><code>")[1].split("</code>")[0].splitlines()
    commands = [
        [str(tiny_data) if word == "DIR" else word for word in shlex.split(line)] for line in lines
    ]
    programs = {"kidneyseg-search": kidneyseg_search, "kidneyseg": kidneyseg}
    assert [programs[command[0]](command[1:]) for command in commands] == [0, 0, 0]
    states = status(capsys, "my-first")["states"]
    assert isinstance(states, dict)
    assert states["complete"] + states["pruned"] == 2


def test_a_worker_with_other_data_is_refused(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert kidneyseg_search(["submit", *run(tiny_data, 2)[1:]]) == 0
    other = tmp_path / "other"
    for case in sorted(tiny_data.iterdir())[1:]:
        (other / case.name).mkdir(parents=True)
        for file in case.iterdir():
            (other / case.name / file.name).write_bytes(file.read_bytes())
    capsys.readouterr()
    assert kidneyseg_search(["worker", "--study", "lr_loss", "--data", str(other)]) == 2
    assert "data was" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)],
    ids=["Ctrl-C", "SIGTERM", "Slurm's warning"],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_interrupted_it_hands_its_trials_back_and_goes_on(
    sent: signal.Signals,
    code: int,
    workers: str,
    workplace: Path,
    tiny_data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Epochs without end, so that the signal surely lands in the middle of a trial.
    endless = run(tiny_data, 3, "--workers", workers, *ENDLESS)
    program = "import sys; from kidneyseg.cli.main import kidneyseg_search as p; sys.exit(p())"
    with subprocess.Popen(
        [sys.executable, "-c", program, *endless],
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stderr is not None
        _wait_for(process.stderr, "epoch 1/", times=int(workers))
        process.send_signal(sent)
        said = process.stderr.read()
        assert process.wait(timeout=60) == code
    assert "Traceback" not in said
    assert said.rstrip().endswith("the same command goes on")
    found = status(capsys)
    assert found["states"] == {
        "complete": 0,
        "pruned": 0,
        "running": 0,
        "waiting": int(workers),
        "failed": 0,
    }
    assert found["handed_back"] == int(workers)


def _wait_for(lines: IO[str], words: str, times: int) -> None:
    trials = set()
    until = time.monotonic() + 120
    while time.monotonic() < until:
        line = lines.readline()
        assert line, "the program ended early"
        if words in line:
            trials.add(line.split()[1])
        if len(trials) == times:
            return
    raise AssertionError(f"never said {words!r}")


def test_without_data_phantoms_are_made_and_said(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kidneyseg.phantom.data_set.DEMO_CASES", 3)
    arguments = ["run", "--study", "lr_loss", "--n-trials", "1", *TINY, SHORT]
    assert kidneyseg_search(arguments) == 0
    assert "phantom scans in runs/phantom" in capsys.readouterr().err
    cases = sorted(path.name for path in Path("runs/phantom").glob("case_*"))
    assert cases == ["case_00000", "case_00001", "case_00002"]
    before = Path("runs/phantom/case_00000/imaging.nii.gz").stat().st_mtime_ns
    assert kidneyseg_search(arguments) == 0
    assert Path("runs/phantom/case_00000/imaging.nii.gz").stat().st_mtime_ns == before


def test_an_export_never_overwrites_something_else(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(run(tiny_data, 1)) == 0
    Path("best").mkdir()
    Path("best/thesis.txt").write_text("years of work", encoding="utf-8")
    assert kidneyseg_search(["export", "--study", "lr_loss", "--out", "best"]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert Path("best/thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_refused_data_or_workers_leave_no_study_behind(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = workplace / "damaged"
    for case in tiny_data.iterdir():
        (damaged / case.name).mkdir(parents=True)
        for file in case.iterdir():
            (damaged / case.name / file.name).write_bytes(file.read_bytes()[:-20])
    assert kidneyseg_search(run(damaged, 2)) in (1, 2)
    assert kidneyseg_search(run(tiny_data, 2, "--workers", "0")) == 2
    capsys.readouterr()
    assert kidneyseg_search(["status"]) == 0
    assert capsys.readouterr().out == "no study yet\n"


def test_a_worker_without_a_study_does_the_open_ones_and_leaves_out_foreign_ones(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(["submit", *run(tiny_data, 1, "--name", "ours")[1:]]) == 0
    theirs = open_storage("sqlite:///runs/studies.db")
    optuna.create_study(storage=theirs.optuna, study_name="theirs").ask()
    capsys.readouterr()
    assert kidneyseg_search(["worker", "--data", str(tiny_data)]) == 0
    assert "left out: study 'theirs'" in capsys.readouterr().err
    found = status(capsys, "ours")
    assert isinstance(found["states"], dict)
    assert found["states"]["complete"] == 1


@pytest.mark.parametrize(
    ("named", "workers", "per_gpu", "n_gpus", "devices"),
    [
        ("auto", None, 1, 2, ["cuda:0", "cuda:1"]),
        ("auto", None, 2, 2, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]),
        ("auto", 3, 1, 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("auto", 2, 1, 0, ["cpu", "cpu"]),
        ("auto", None, 3, 0, ["cpu"]),
        ("cuda:1", 2, 1, 2, ["cuda:1", "cuda:1"]),
        ("cpu", None, 1, 2, ["cpu"]),
    ],
)
def test_every_gpu_has_its_workers(
    monkeypatch: pytest.MonkeyPatch,
    named: str,
    workers: int | None,
    per_gpu: int,
    n_gpus: int,
    devices: list[str],
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: n_gpus)
    assert choose_devices(named, workers, per_gpu) == devices


@pytest.mark.parametrize(
    ("workers", "per_gpu", "words"),
    [(0, 1, "--workers 0: expected 1 or more"), (None, 0, "--workers-per-gpu 0: expected 1")],
)
def test_no_workers_are_none(workers: int | None, per_gpu: int, words: str) -> None:
    with pytest.raises(CorrectableError, match=words):
        choose_devices("auto", workers, per_gpu)
