"""The exact budget: N finished trials, over any number of workers, calls and crashes.

A trial may be trained only if, looked at after it was created, fewer than N trials that count have
a smaller number. Numbers are given in the order of creation, so two workers never both take the
last place: no lock and no clock are needed. A trial beyond the budget is told to be surplus.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import String, cast, select

from kidneyseg.search.storage import Storage
from kidneyseg.search.tables import trials


class State(StrEnum):
    """The states of a trial, by Optuna's names."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    FAIL = "FAIL"


FINISHED = (State.COMPLETE, State.PRUNED)
COUNTING = (*FINISHED, State.RUNNING, State.WAITING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many trials of a study are in which state."""

    complete: int
    pruned: int
    running: int
    waiting: int
    failed: int

    @property
    def finished(self) -> int:
        """Complete and pruned ones: what a budget counts."""
        return self.complete + self.pruned

    @property
    def counting(self) -> int:
        """Finished ones and those that may still finish."""
        return self.finished + self.running + self.waiting


def read_states(storage: Storage, study_id: int) -> dict[int, State]:
    """The state of every trial of a study, by number; one query."""
    state = cast(trials.c.state, String)
    query = select(trials.c.number, state).where(trials.c.study_id == study_id)
    with storage.engine.connect() as connection:
        return {number: State(name) for number, name in connection.execute(query)}


def tally(states: Iterable[State]) -> Tally:
    """Count states."""
    each = list(states)
    return Tally(
        complete=each.count(State.COMPLETE),
        pruned=each.count(State.PRUNED),
        running=each.count(State.RUNNING),
        waiting=each.count(State.WAITING),
        failed=each.count(State.FAIL),
    )


def may_train(states: dict[int, State], number: int, n_trials: int) -> bool:
    """Whether a trial lies within the budget, judged by states read after it was created."""
    before = sum(1 for other, state in states.items() if other < number and state in COUNTING)
    return before < n_trials
