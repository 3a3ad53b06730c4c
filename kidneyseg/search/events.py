"""What a worker does, told step by step: to a display in the same process, or as JSON lines."""

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStarted:
    """A trial begins."""

    trial: int
    hyperparameters: dict[str, Any]  # those that vary in this study
    finished_epochs: int = 0  # by whoever trained these hyper-parameters before


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochFinished:
    """An epoch of a trial is in the database."""

    trial: int
    epoch: int
    max_epochs: int
    dice: float  # validation, per volume
    best_dice: float  # of this trial so far
    loss: float  # validation
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFinished:
    """A trial is over."""

    trial: int
    state: str  # COMPLETE, PRUNED or FAIL
    dice: float | None  # of its best epoch
    epochs: int
    reason: str  # why it failed; empty otherwise
    finished: int  # trials finished in the study now
    n_trials: int  # the budget
    goes_on: bool = False  # under a new number: its worker or its process died


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """A trial has the hyper-parameters of an earlier one, and takes its result over."""

    trial: int
    source: int  # whose result it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """A trial's process wrote a line to stderr: a library's warning, mostly."""

    trial: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Nothing to train: others work on the last trials of the budget."""

    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Somebody stopped the study: no new trial begins."""

    reason: str


Event = TrialStarted | EpochFinished | TakenOver | TrialFinished | Warned | Waiting | Stopped


def to_json(event: Event) -> str:
    """One line of JSON."""
    return json.dumps({"event": type(event).__name__, **asdict(event)})
