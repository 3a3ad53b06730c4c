"""Events as JSON lines."""

import pytest

from kidneyseg.errors import KidneysegError
from kidneyseg.search.events import (
    EpochFinished,
    Event,
    TrialFinished,
    TrialStarted,
    Waiting,
    from_json,
    to_json,
)

EVENTS = [
    TrialStarted(trial=3, hyperparameters={"learning_rate": 1e-3, "batch_size": 8}),
    EpochFinished(trial=3, epoch=2, max_epochs=6, dice=0.5, best_dice=0.6, loss=0.7, seconds=1.5),
    TrialFinished(
        trial=3, state="FAIL", dice=None, epochs=0, reason="a\nb", finished=7, n_trials=9
    ),
    Waiting(running=2),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_from_its_line_as_it_was(event: Event) -> None:
    line = to_json(event)
    assert "\n" not in line
    assert from_json(line + "\n") == event


@pytest.mark.parametrize(
    "line", ["", "[]", "7", "Traceback", "{}", '{"event": "Done"}', '{"event": "Waiting"}']
)
def test_anything_else_is_refused(line: str) -> None:
    with pytest.raises(KidneysegError, match="expected an event"):
        from_json(line)
