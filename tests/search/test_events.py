"""Events as JSON lines."""

import json

import pytest

from kidneyseg.search.events import (
    EpochFinished,
    Event,
    Stopped,
    TakenOver,
    TrialFinished,
    TrialStarted,
    Waiting,
    Warned,
    to_json,
)

EVENTS = [
    (
        TrialStarted(trial=3, hyperparameters={"learning_rate": 1e-3}, finished_epochs=2),
        {"trial": 3, "hyperparameters": {"learning_rate": 0.001}, "finished_epochs": 2},
    ),
    (
        EpochFinished(trial=3, epoch=2, max_epochs=6, dice=0.5, best_dice=0.6, loss=0.7, seconds=2),
        {
            "trial": 3,
            "epoch": 2,
            "max_epochs": 6,
            "dice": 0.5,
            "best_dice": 0.6,
            "loss": 0.7,
            "seconds": 2,
        },
    ),
    (
        TrialFinished(
            trial=3, state="FAIL", dice=None, epochs=0, reason="a\nb", finished=7, n_trials=9
        ),
        {
            "trial": 3,
            "state": "FAIL",
            "dice": None,
            "epochs": 0,
            "reason": "a\nb",
            "finished": 7,
            "n_trials": 9,
            "goes_on": False,
        },
    ),
    (TakenOver(trial=3, source=1), {"trial": 3, "source": 1}),
    (Warned(trial=3, message="slow"), {"trial": 3, "message": "slow"}),
    (Waiting(running=2), {"running": 2}),
    (Stopped(reason="by hand"), {"reason": "by hand"}),
]


@pytest.mark.parametrize(("event", "told"), EVENTS, ids=[type(e).__name__ for e, _ in EVENTS])
def test_an_event_is_one_line_of_json(event: Event, told: dict[str, object]) -> None:
    line = to_json(event)
    assert "\n" not in line
    assert json.loads(line) == {"event": type(event).__name__, **told}
