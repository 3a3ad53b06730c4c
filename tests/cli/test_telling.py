"""Whom a command tells: people, or programs that read lines of JSON and nothing else."""

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import typer

from kidneyseg.cli import options, phantoms
from kidneyseg.cli.display import track
from kidneyseg.cli.main import run_program
from kidneyseg.cli.telling import asks_for_json, say, tell_of, telling, warn
from kidneyseg.environment_files import load_environment
from kidneyseg.errors import ExitCode, Terminated


def told(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, Any, str]]:
    caught = capsys.readouterr()
    assert caught.out == ""
    lines = [json.loads(line) for line in caught.err.splitlines()]
    return [(line["level"], line["study"], line["message"]) for line in lines]


@pytest.mark.parametrize(
    ("line", "is_json"),
    [
        ("run --log-format json", True),
        ("run --log-format=json --n-trials 1", True),
        ("run --log-format json --log-format text", False),
        ("run --study json", False),
        ("run --log-format", False),
    ],
)
def test_json_is_asked_for_by_the_option(line: str, is_json: bool) -> None:
    assert asks_for_json(line.split()) == is_json


def test_people_are_told_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with telling(as_json=False):
        say("study [lr_loss] :x:")
        warn("slow")
        warn(None)
        tell_of("lr_loss")
    assert capsys.readouterr().err == "study [lr_loss] :x:\nwarning: slow\n"


def test_all_that_is_told_is_of_the_study_once_it_is_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with telling(as_json=True):
        say("before")
        tell_of("lr_loss", lambda text: text.replace("Ada", "case-1"))
        say("12 of Ada")
        warn("Ada's scan")
        assert list(track([1, 2], "cases prepared")) == [1, 2]
    assert told(capsys) == [
        ("info", None, "before"),
        ("info", "lr_loss", "12 of Ada"),
        ("warning", "lr_loss", "case-1's scan"),
        ("info", "lr_loss", "cases prepared: 2"),
    ]


def test_what_others_write_to_stderr_is_lines_of_json_too(
    capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    with telling(as_json=True):
        tell_of("lr_loss")
        logging.getLogger("library").error("lost")
        logging.getLogger("library").info("chatter")
        warnings.warn("old", UserWarning, stacklevel=1)
        sys.stderr.write("half")
        sys.stderr.write(" a line\nand no end")
    lines = told(capsys)
    assert lines[0] == ("error", "lr_loss", "lost")
    assert any("UserWarning: old" in message for _level, _study, message in lines)
    assert lines[-2:] == [
        ("warning", "lr_loss", "half a line"),
        ("warning", "lr_loss", "and no end"),
    ]
    sys.stderr.write("plain again")
    logging.getLogger("library").error("plain, too")
    assert "{" not in capsys.readouterr().err


def test_without_data_the_phantoms_are_told_in_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "kidneyseg.phantom.data_set.make_demo_phantoms", lambda _folder: iter(range(12))
    )
    with telling(as_json=True):
        phantoms.with_data(load_environment("local", {}))
    assert [message for _level, _study, message in told(capsys)] == [
        "no --data: using 12 phantom scans in runs/phantom",
        "phantom scans made: 12",
    ]


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (Terminated(), ExitCode.TERMINATED, "terminated; the same command goes on"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "interrupted; the same command goes on"),
        (ValueError("x"), ExitCode.FAILED, "unexpected ValueError: x (--debug shows where)"),
    ],
)
def test_however_a_command_ends_it_is_a_line_of_json(
    raised: BaseException, code: ExitCode, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()

    @app.command()
    def fail(_log_format: options.LogFormatOption) -> None:
        tell_of("lr_loss")
        raise raised

    app.command(name="other")(fail)
    assert run_program(app, "kidneyseg-search", ["fail", "--log-format=json"]) == code
    assert told(capsys) == [("error", "lr_loss", f"kidneyseg-search: {words}")]
