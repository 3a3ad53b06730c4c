"""What there is to see of a study while it goes on."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class BestTrial:
    """The complete trial with the highest validation Dice."""

    number: int
    value: float
    params: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTrial:
    """A trial that is in somebody's hands."""

    trial: int
    epoch: int  # finished ones
    dice: float | None  # of the last finished epoch
    seconds_per_epoch: float | None  # mean of those timed
    worker: str  # host and process number; empty when unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A worker that has not said that it left, and the trial it is on."""

    worker: str  # host and process number
    device: str
    alive: bool  # seen within the last 90 s, by the database's clock
    seen_seconds_ago: float
    trial: int | None  # between two trials: None
    epoch: int
    dice: float | None
    seconds_per_epoch: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStatus:
    """What `status` shows."""

    study: str
    n_trials: int  # asked for
    states: dict[str, int]  # complete, pruned, running, waiting, failed
    handed_back: int  # trials ended and taken up again under another number
    best: BestTrial | None
    workers: list[WorkerStatus]
    running: list[RunningTrial]
    epochs: int  # trained; those of a handed-back trial are counted where it goes on
    hours: float  # of work, over all workers
    saved_epochs: int  # by pruning, about
    saved_hours: float
    hours_left: float | None  # at the pace of late; None where that is unknown
    stop: str | None  # why no new trial begins
    stop_now: bool  # running trials are handed back, too

    @property
    def finished(self) -> int:
        """Complete and pruned trials: what the budget counts."""
        return self.states["complete"] + self.states["pruned"]

    @property
    def alive(self) -> list[WorkerStatus]:
        """The workers that are alive."""
        return [worker for worker in self.workers if worker.alive]

    @property
    def held(self) -> list[RunningTrial]:
        """Running trials of workers that are alive."""
        alive = {worker.trial for worker in self.alive}
        return [trial for trial in self.running if trial.trial in alive]
