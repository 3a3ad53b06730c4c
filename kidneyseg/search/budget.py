"""The exact budget: N finished trials, over any number of workers, calls and crashes.

A trial may be trained only if, looked at after it was created, fewer than N trials that count have
a smaller number. Numbers are given in the order of creation, so two workers never both take the
last place: no lock and no clock are needed. A trial beyond the budget is told to be surplus.

A trial that was handed back counts from the moment it ended until its copy is in line, as the copy
does from then on, and the copy has the place of the trial whose hyper-parameters it has: what was
once within the budget stays so. Of two copies of one trial the first counts.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, String, and_, cast, func, select

from kidneyseg.search.lineage import LINEAGE
from kidneyseg.search.storage import Storage
from kidneyseg.search.tables import trial_user_attributes, trials

OUTCOME = "outcome"  # trial attribute: why a trial failed, for people
HANDED_BACK = "handed back"  # how the outcome of a trial begins that goes on under a new number
FAILED = "failed"  # how the outcome of a trial begins that another replaces

SURPLUS = "surplus: the budget was reached before it began"

STATE = cast(trials.c.state, String)


class State(StrEnum):
    """The states of a trial: Optuna's names, and one of ours."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    FAIL = "FAIL"
    IN_HAND = "IN_HAND"  # handed back, its copy not yet in line


FINISHED = (State.COMPLETE, State.PRUNED)
COUNTING = (*FINISHED, State.RUNNING, State.WAITING, State.IN_HAND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many trials of a study are in which state."""

    complete: int
    pruned: int
    running: int
    waiting: int  # in line
    in_hand: int  # handed back, and soon in line again
    failed: int

    @property
    def finished(self) -> int:
        """Complete and pruned ones: what a budget counts."""
        return self.complete + self.pruned

    @property
    def counting(self) -> int:
        """Finished ones and those that may still finish."""
        return self.finished + self.running + self.waiting + self.in_hand


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The trials of a study as the budget sees them, read at one moment."""

    states: dict[int, State]  # by number
    copies: dict[int, int]  # number of a trial that was handed back: number of its first copy
    origins: dict[int, int]  # number of a copy: number of the trial that it goes on with

    def may_train(self, number: int, n_trials: int) -> bool:
        """Whether a trial lies within the budget; the ledger was read after it was created."""
        if self._is_second_copy(number):
            return False
        place = self._place(number)
        before = sum(
            1
            for other, state in self.states.items()
            if state in COUNTING and self._place(other) < place and not self._is_second_copy(other)
        )
        return before < n_trials

    def is_copy(self, number: int) -> bool:
        """Whether a trial goes on with another, and is the one that counts."""
        return number in self.origins and not self._is_second_copy(number)

    def later(self, number: int) -> list[int]:
        """The numbers under which a trial went on, in their order."""
        found = []
        while number in self.copies:
            number = self.copies[number]
            found.append(number)
        return found

    def _is_second_copy(self, number: int) -> bool:
        return number in self.origins and self.copies[self.origins[number]] != number

    def _place(self, number: int) -> int:
        """The number that a trial's hyper-parameters had first."""
        while number in self.origins:
            number = self.origins[number]
        return number

    @property
    def in_hand(self) -> list[int]:
        """The numbers of trials that were handed back and are not in line again."""
        return [number for number, state in self.states.items() if state == State.IN_HAND]

    def tally(self) -> Tally:
        """Count states."""
        each = list(self.states.values())
        return Tally(
            complete=each.count(State.COMPLETE),
            pruned=each.count(State.PRUNED),
            running=each.count(State.RUNNING),
            waiting=each.count(State.WAITING),
            in_hand=each.count(State.IN_HAND),
            failed=each.count(State.FAIL),
        )


def read_ledger(storage: Storage, study_id: int) -> Ledger:
    """The state of every trial of a study, and who goes on with whom: one query, one moment."""
    outcome, lineages = trial_user_attributes.alias(), trial_user_attributes.alias()
    query = (
        select(
            trials.c.number,
            STATE.label("state"),
            outcome.c.value_json.label("outcome"),
            lineages.c.value_json.label("lineage"),
        )
        .outerjoin(outcome, _is_attribute(outcome, OUTCOME))
        .outerjoin(lineages, _is_attribute(lineages, LINEAGE))
        .where(trials.c.study_id == study_id)
        .order_by(trials.c.number)
    )
    states: dict[int, State] = {}
    copies: dict[int, int] = {}
    origins: dict[int, int] = {}
    for row in storage.read(query):
        state = State(row.state)
        if state == State.FAIL and row.outcome and json.loads(row.outcome).startswith(HANDED_BACK):
            state = State.IN_HAND
        states[row.number] = state
        if row.lineage:
            origins[row.number] = json.loads(row.lineage)[-1]
            copies.setdefault(origins[row.number], row.number)
    states |= {number: State.FAIL for number in copies if states[number] == State.IN_HAND}
    return Ledger(states=states, copies=copies, origins=origins)


def read_tally(storage: Storage, study_id: int) -> Tally:
    """Count states in the database: little to send, however many trials there are."""
    query = (
        select(STATE.label("state"), func.count().label("n"))
        .where(trials.c.study_id == study_id)
        .group_by(STATE)
    )
    n = {State(row.state): int(row.n) for row in storage.read(query)}
    n_in_hand = len(read_in_hand(storage, study_id)) if State.FAIL in n else 0
    return Tally(
        complete=n.get(State.COMPLETE, 0),
        pruned=n.get(State.PRUNED, 0),
        running=n.get(State.RUNNING, 0),
        waiting=n.get(State.WAITING, 0),
        in_hand=n_in_hand,
        failed=max(0, n.get(State.FAIL, 0) - n_in_hand),  # one may have been handed back since
    )


def read_in_hand(storage: Storage, study_id: int) -> list[int]:
    """The numbers of trials that were handed back and are not in line again.

    Those that were handed back are read first: a copy that comes meanwhile is seen.
    """
    told, lineages = trial_user_attributes.alias(), trial_user_attributes.alias()
    handed_back = (
        select(trials.c.number)
        .join(told, _is_attribute(told, OUTCOME))
        .where(trials.c.study_id == study_id, STATE == State.FAIL)
        .where(told.c.value_json.like(f'"{HANDED_BACK}%'))
        .order_by(trials.c.number)
    )
    copies = (
        select(lineages.c.value_json)
        .join(trials, _is_attribute(lineages, LINEAGE))
        .where(trials.c.study_id == study_id)
    )
    numbers = list(storage.read(handed_back).scalars())
    if not numbers:
        return []
    copied = {json.loads(text)[-1] for text in storage.read(copies).scalars()}
    return [number for number in numbers if number not in copied]


def read_states(storage: Storage, study_id: int) -> dict[int, State]:
    """The state of every trial of a study, by number."""
    return read_ledger(storage, study_id).states


def _is_attribute(attributes: Any, key: str) -> ColumnElement[bool]:
    return and_(attributes.c.trial_id == trials.c.trial_id, attributes.c.key == key)
