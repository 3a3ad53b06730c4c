"""`kidneyseg verify` as a person and a program use it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from kidneyseg.cli.main import kidneyseg
from kidneyseg.ct.volumes import write_kits19_case

SHAPE = (12, 40, 40)


def write_case(folder: Path, seed: int, *, right: bool = True) -> None:
    """A body in air with kidneys of 15 ml each."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:9, 15:19, 29:35] = 1
    labels[4:9, 15:19, 5:11] = right
    labels[4, 15, 29 + seed] = 0
    scan = np.full(SHAPE, -1000, np.int16)
    scan[:, 5:35, 2:38] = np.random.default_rng(seed).normal(40, 100, (12, 30, 36))
    scan[labels > 0] = 150
    write_kits19_case(folder, scan, labels, spacing_mm=(5.0, 5.0, 5.0))


@pytest.fixture
def data(workplace: Path) -> Path:
    for number in range(3):
        write_case(workplace / "data" / f"case_0000{number}", number, right=number != 1)
    return workplace / "data"


def test_notes_are_told_with_exit_code_0(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kidneyseg(["verify", "data"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "note: one kidney. Cure: nothing, unless the other is there and unlabelled.",
        "  case_00001  15 ml on the left",
        "3 cases: 0 errors, 1 notes",
    ]
    assert told.err == "cases checked: 3\n"


def test_errors_are_told_with_their_cure_and_exit_code_1(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = data / "case_00002" / "imaging.nii.gz"
    scan.write_bytes(scan.read_bytes()[:-100])
    (data / "case_00000" / "imaging.nii.gz").unlink()
    assert kidneyseg(["verify", "data"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("error: missing file. Cure: fetch the case again")
    assert lines[1] == (
        "  case_00000  data/case_00000: no imaging.nii.gz beside the segmentation; fetch it again"
    )
    assert lines[2].startswith("error: damaged file. Cure: fetch the file again;")
    assert lines[3].startswith("  case_00002  data/case_00002/imaging.nii.gz: cut or damaged (")
    assert lines[-1] == "3 cases: 2 errors, 1 notes"


def test_labels_only_needs_no_scans(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for scan in data.glob("*/imaging.nii.gz"):
        scan.unlink()
    assert kidneyseg(["verify", "data", "--labels-only"]) == 0
    assert capsys.readouterr().out.endswith("3 cases: 0 errors, 1 notes\n")


def test_json_is_one_document_with_the_same_content(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = data / "case_00000" / "segmentation.nii.gz"
    labels.unlink()
    write_case(data / "case_00003", 2)
    assert kidneyseg(["verify", "data", "--json"]) == 1
    told = capsys.readouterr()
    assert told.err == "cases checked: 4\n"
    document = json.loads(told.out)
    findings = document.pop("findings")
    assert document == {"data": "data", "cases": 4, "errors": 1, "notes": 2}
    assert findings[0] == {
        "case": "case_00003",
        "severity": "error",
        "kind": "duplicate",
        "message": "holds the same voxels as the scan of case_00002 and the labels of case_00002",
        "cure": "take one away: parted by the split, it would tell the test what training saw",
    }
    assert [(finding["case"], finding["kind"]) for finding in findings[1:]] == [
        ("case_00000", "left out"),
        ("case_00001", "one kidney"),
    ]


def test_a_table_of_paths_and_labels_of_ones_own(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{n},case_0000{n}/imaging.nii.gz,case_0000{n}/segmentation.nii.gz" for n in range(3)]
    (data / "cases.csv").write_text(
        "\n".join(["case,imaging,segmentation", *lines]), encoding="utf-8"
    )
    assert kidneyseg(["verify", "data/cases.csv", "--set", "data.kidney_labels=[2]"]) == 1
    told = capsys.readouterr().out
    assert "holds the labels [1]; expected 0 and [2] (data.kidney_labels) or []" in told
    assert told.endswith("3 cases: 6 errors, 0 notes\n")


@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv"])
def test_what_is_not_there_is_exit_code_2(
    name: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg(["verify", name]) == 2
    assert capsys.readouterr().err.startswith(f"kidneyseg: {name}: no such ")


def test_a_folder_without_cases_is_exit_code_2(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg(["verify", "."]) == 2
    assert capsys.readouterr().err.startswith("kidneyseg: .: no labelled case; expected case_")


@pytest.mark.slow
def test_ctrl_c_ends_it_and_its_processes(workplace: Path) -> None:
    first = workplace / "data" / "case_00000"
    write_case(first, 0)
    for number in range(1, 3000):  # more than it can be through with before the signal comes
        case = workplace / "data" / f"case_{number:05d}"
        case.mkdir()
        for file in first.iterdir():
            (case / file.name).hardlink_to(file)
    program = "import sys; from kidneyseg.cli.main import kidneyseg; sys.exit(kidneyseg())"
    (workplace / "program.py").write_text(
        f"if __name__ == '__main__':\n    {program}\n", encoding="utf-8"
    )
    with subprocess.Popen(
        [sys.executable, "program.py", "verify", "data"],
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        children = wait_for_children(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert psutil.wait_procs(children, timeout=10)[1] == []


def wait_for_children(pid: int) -> list[psutil.Process]:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        children = psutil.Process(pid).children()
        if len(children) > 1:  # the first is the standard library's own
            return children
        time.sleep(0.02)
    pytest.fail("it started no process")
