"""The exact budget: never more and never fewer, whatever workers do and in whatever order."""

import random
from collections.abc import Callable, Generator

import optuna
import pytest
from optuna.trial import TrialState

from kidneyseg.search.budget import COUNTING, State, may_train, read_states, tally
from kidneyseg.search.storage import Storage

Action = Generator[None, None, None]


class SimulatedStudy:
    """Trials that come, are judged, finish, fail, or are handed back, in one order at a time."""

    def __init__(self, n_trials: int, seed: int) -> None:
        self.n_trials = n_trials
        self.states: dict[int, State] = {}
        self.dice = random.Random(seed)

    def ask(self) -> int:
        """Take a waiting trial, else make one: one transaction."""
        waiting = [number for number, state in self.states.items() if state == State.WAITING]
        number = min(waiting) if waiting else len(self.states)
        self.states[number] = State.RUNNING
        return number

    def hand_back(self, number: int) -> Action:
        """End a trial, then put its hyper-parameters in line: two transactions."""
        self.states[number] = State.FAIL
        yield
        self.states[len(self.states)] = State.WAITING

    def worker(self) -> Action:
        """Work as `kidneyseg.search.worker` does; another worker may act at every yield."""
        while True:
            counts = tally(self.states.values())
            yield
            if counts.finished >= self.n_trials:
                return
            if counts.waiting == 0 and counts.counting >= self.n_trials:
                continue
            number = self.ask()
            yield
            seen = dict(self.states)
            yield
            if not may_train(seen, number, self.n_trials):
                self.states[number] = State.FAIL
                continue
            yield from self.train(number)

    def train(self, number: int) -> Action:
        for _ in range(self.dice.randrange(6)):
            yield
        end = self.dice.random()
        if end < 0.15:
            self.states[number] = State.FAIL
        elif end < 0.35:
            yield from self.hand_back(number)
        else:
            self.states[number] = State.COMPLETE if end < 0.7 else State.PRUNED


def simulate(n_workers: int, n_trials: int, seed: int) -> SimulatedStudy:
    study = SimulatedStudy(n_trials, seed)
    workers = [study.worker() for _ in range(n_workers)]
    while workers:
        worker = study.dice.choice(workers)
        try:
            next(worker)
        except StopIteration:
            workers.remove(worker)
        assert tally(study.states.values()).finished <= n_trials
    return study


@pytest.mark.parametrize("n_workers", [1, 2, 8])
@pytest.mark.parametrize("n_trials", [1, 3, 10])
def test_any_interleaving_of_workers_ends_with_exactly_n(n_workers: int, n_trials: int) -> None:
    for seed in range(40):
        study = simulate(n_workers, n_trials, seed)
        assert tally(study.states.values()).finished == n_trials, seed


def test_workers_of_the_simulation_do_overshoot_and_fail() -> None:
    """Else the simulation would show nothing."""
    failed = [tally(simulate(8, 10, seed).states.values()).failed for seed in range(10)]
    assert max(failed) > 5


def test_without_the_rank_rule_workers_would_train_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(globals(), "may_train", lambda states, number, n_trials: True)
    with pytest.raises(AssertionError):
        [simulate(8, 3, seed) for seed in range(40)]


@pytest.mark.parametrize("seed", range(20))
def test_of_any_history_the_first_n_that_count_may_train(seed: int) -> None:
    dice = random.Random(seed)
    states = {number: dice.choice(list(State)) for number in range(dice.randrange(1, 30))}
    n_trials = dice.randrange(1, 12)
    counting = [number for number, state in states.items() if state in COUNTING]
    allowed = [number for number in counting if may_train(states, number, n_trials)]
    assert allowed == counting[:n_trials]


def test_a_tally_counts_finished_and_those_that_may_still_finish() -> None:
    counts = tally([*State, State.COMPLETE, State.RUNNING, State.RUNNING])
    assert (counts.complete, counts.pruned, counts.failed) == (2, 1, 1)
    assert (counts.running, counts.waiting) == (3, 1)
    assert counts.finished == 3
    assert counts.counting == 7


def test_states_are_read_as_optuna_wrote_them(either_storage: Storage) -> None:
    study = optuna.create_study(storage=either_storage.optuna, study_name="a")
    other = optuna.create_study(storage=either_storage.optuna, study_name="b")
    ends: list[Callable[[optuna.Trial], object]] = [
        lambda trial: study.tell(trial, 0.5),
        lambda trial: study.tell(trial, state=TrialState.PRUNED),
        lambda trial: study.tell(trial, state=TrialState.FAIL),
        lambda trial: None,
    ]
    for end in ends:
        end(study.ask())
    study.enqueue_trial({"x": 1})
    other.ask()
    found = read_states(either_storage, study._study_id)
    assert found == dict(enumerate(["COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"]))
    assert read_states(either_storage, study._study_id + 99) == {}
