"""Logs as JSON lines: each whole, and each with time, level, study, trial and worker."""

import io
import json
import os
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kidneyseg.cli.json_log import JsonLog
from kidneyseg.search.events import (
    EpochFinished,
    Event,
    Stopped,
    TakenOver,
    TrialFinished,
    TrialStarted,
    Waiting,
    Warned,
)

FAILED = TrialFinished(
    trial=3, state="FAIL", dice=None, epochs=0, reason="a\nb", finished=7, n_trials=9
)
GOES_ON = TrialFinished(
    trial=3, state="FAIL", dice=None, epochs=1, reason="", finished=7, n_trials=9, goes_on=True
)
PRUNED = TrialFinished(
    trial=3, state="PRUNED", dice=0.5, epochs=1, reason="", finished=7, n_trials=9
)


def lines(*events: Event, place: int = 0) -> list[dict[str, Any]]:
    stream = io.StringIO()
    log = JsonLog("lr_loss", stream)
    with log.live():
        for event in events:
            log.show(event, place)
    return [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]


def test_a_line_says_when_how_grave_of_what_study_worker_and_trial() -> None:
    before = datetime.now(UTC)
    (line,) = lines(TakenOver(trial=3, source=1), place=2)
    time = datetime.fromisoformat(line.pop("time"))
    assert time.utcoffset() == timedelta(0)
    assert timedelta(milliseconds=-1) <= time - before < timedelta(minutes=1)
    assert line == {
        "level": "info",
        "study": "lr_loss",
        "worker": f"{socket.gethostname()} {os.getpid()}/2",
        "trial": 3,
        "event": "TakenOver",
        "source": 1,
    }


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (TrialStarted(trial=1, hyperparameters={}), "info"),
        (PRUNED, "info"),
        (FAILED, "error"),
        (GOES_ON, "warning"),
        (Stopped(reason="by hand"), "warning"),
        (Waiting(running=2), "info"),
        (Warned(trial=1, message="slow"), "warning"),
    ],
)
def test_the_level_is_how_grave_the_event_is(event: Event, level: str) -> None:
    assert lines(event)[0]["level"] == level


def test_an_event_of_no_trial_has_none() -> None:
    assert lines(Waiting(running=2))[0]["trial"] is None


def test_each_event_is_one_line_whatever_it_says() -> None:
    told = lines(FAILED, TrialStarted(trial=4, hyperparameters={"sampling": "uni\u2028form"}))
    assert [line["trial"] for line in told] == [3, 4]
    assert told[0]["reason"] == "a\nb"


def test_reasons_are_told_as_they_may_be_shown() -> None:
    stream = io.StringIO()
    log = JsonLog("lr_loss", stream, scrub=lambda text: text.replace("a", "case-1"))
    log.show(FAILED)
    assert json.loads(stream.getvalue())["reason"] == "case-1\nb"


def test_what_a_trials_process_wrote_is_told_as_it_may_be_shown() -> None:
    stream = io.StringIO()
    log = JsonLog("lr_loss", stream, scrub=lambda text: text.replace("Ada", "case-1"))
    log.show(Warned(trial=3, message="Ada's scan"))
    line = json.loads(stream.getvalue())
    assert (line["study"], line["trial"], line["message"]) == ("lr_loss", 3, "case-1's scan")


def test_numbers_that_json_does_not_have_are_null() -> None:
    epoch = EpochFinished(
        trial=1,
        epoch=1,
        max_epochs=2,
        dice=0.5,
        best_dice=0.5,
        loss=float("nan"),
        seconds=float("inf"),
    )
    started = TrialStarted(trial=1, hyperparameters={"learning_rate": float("nan")})
    first, second = lines(epoch, started)
    assert (first["loss"], first["seconds"], first["dice"]) == (None, None, 0.5)
    assert second["hyperparameters"] == {"learning_rate": None}


def test_what_is_said_to_people_is_a_line_of_its_own() -> None:
    stream = io.StringIO()
    JsonLog("lr_loss", stream).say("study lr_loss\n12 of 50 trials")
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in told] == ["study lr_loss", "12 of 50 trials"]
    assert {line["event"] for line in told} == {"Message"}


def test_lines_go_to_stderr_and_nothing_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    JsonLog("lr_loss").show(Waiting(running=2))
    caught = capsys.readouterr()
    assert caught.out == ""
    assert json.loads(caught.err)["running"] == 2
