"""A status in good words."""

from dataclasses import replace
from typing import Any

import pytest

from kidneyseg.cli.status_text import counted, hours_words, status_text
from kidneyseg.search.study_status import BestTrial, RunningTrial, StudyStatus, WorkerStatus

WORKER = WorkerStatus(
    worker="gpu-box 4711",
    device="cuda:0",
    alive=True,
    seen_seconds_ago=3.0,
    trial=13,
    epoch=4,
    dice=0.80119,
    seconds_per_epoch=31.25,
)
STATUS = StudyStatus(
    study="lr_loss",
    n_trials=50,
    states={"complete": 9, "pruned": 3, "running": 2, "waiting": 1, "failed": 0},
    handed_back=1,
    best=BestTrial(number=7, value=0.91234, params={"learning_rate": 0.001, "activation": "relu"}),
    workers=[WORKER],
    running=[
        RunningTrial(trial=13, epoch=4, dice=0.8, seconds_per_epoch=31, worker="gpu-box 4711"),
        RunningTrial(trial=14, epoch=1, dice=None, seconds_per_epoch=None, worker=""),
    ],
    epochs=88,
    hours=3.4,
    saved_epochs=20,
    saved_hours=0.7,
    hours_left=5.2,
    stop=None,
    stop_now=False,
)


def test_a_search_in_full_swing() -> None:
    assert status_text(STATUS).splitlines() == [
        "study lr_loss: 12 of 50 trials finished (9 complete, 3 pruned), 2 running, 1 waiting",
        "spent: 88 epochs, 3.4 hours of work; saved by pruning: about 20 epochs, 42 minutes",
        "best so far: trial 7, Dice 0.9123, learning_rate 0.001, activation relu",
        "left: 38 trials, about 5.2 hours",
        "worker gpu-box 4711 on cuda:0: trial 13, 4 epochs, Dice 0.8012, 31.2 s an epoch",
        "worker not known: trial 14, 1 epoch",
    ]


def test_a_study_of_one_trial_that_nobody_began() -> None:
    empty = dict.fromkeys(STATUS.states, 0)
    status = replace(
        STATUS,
        n_trials=1,
        states=empty,
        best=None,
        workers=[],
        running=[],
        epochs=0,
        hours=0.0,
        saved_epochs=0,
        hours_left=None,
    )
    assert status_text(status).splitlines() == [
        "study lr_loss: 0 of 1 trial finished (0 complete, 0 pruned)",
        "spent: 0 epochs, 0 s of work",
        "left: 1 trial",
    ]


def test_a_study_that_is_done_has_nothing_left() -> None:
    done = replace(STATUS, n_trials=12, hours_left=0.0)
    assert "left" not in status_text(done)


@pytest.mark.parametrize(
    ("now", "end"),
    [(False, "no new trial begins: enough"), (True, "; running trials are handed back")],
)
def test_a_stop_is_told_instead_of_the_time_left(now: bool, end: str) -> None:
    text = status_text(replace(STATUS, stop="enough", stop_now=now, hours_left=None))
    assert end in text
    assert "left:" not in text
    assert ("handed back" in text) == now


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trial": None}, "between two trials"),
        ({"epoch": 0, "dice": None}, "trial 13, first epoch"),
        (
            {"alive": False, "seen_seconds_ago": 720.0, "trial": None},
            "gone, last seen 12 minutes ago",
        ),
        (
            {"alive": False, "seen_seconds_ago": 100.0, "epoch": 1, "seconds_per_epoch": None},
            "gone, last seen 2 minutes ago in trial 13, 1 epoch, Dice 0.8012",
        ),
    ],
)
def test_what_a_worker_does(changes: dict[str, Any], said: str) -> None:
    text = status_text(replace(STATUS, workers=[replace(WORKER, **changes)], running=[]))
    assert text.splitlines()[-1] == f"worker gpu-box 4711 on cuda:0: {said}"


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0.0, "0 s"),
        (90 / 3600, "90 s"),
        (100 / 3600, "2 minutes"),
        (1.5, "90 minutes"),
        (2.0, "2.0 hours"),
        (47.9, "47.9 hours"),
        (60.0, "2.5 days"),
    ],
)
def test_hours_are_said_as_people_say_them(hours: float, words: str) -> None:
    assert hours_words(hours) == words


def test_one_thing_is_one() -> None:
    assert [counted(n, "trial") for n in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]
