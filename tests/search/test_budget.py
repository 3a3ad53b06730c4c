"""The exact budget: never more and never fewer, whatever workers do and in whatever order."""

import random
from collections.abc import Callable, Generator

import optuna
import pytest
from optuna.trial import TrialState

from kidneyseg.search.budget import (
    COUNTING,
    HANDED_BACK,
    OUTCOME,
    SURPLUS,
    Ledger,
    State,
    read_ledger,
    read_states,
)
from kidneyseg.search.lineage import LINEAGE
from kidneyseg.search.storage import Storage

Action = Generator[None, None, None]


def ledger(states: dict[int, State], origins: dict[int, int] | None = None) -> Ledger:
    copies: dict[int, int] = {}
    for number, origin in sorted((origins or {}).items()):
        copies.setdefault(origin, number)
    return Ledger(states=states, copies=copies, origins=origins or {})


class DiedError(Exception):
    """A worker was killed."""


class SimulatedStudy:
    """Trials that come, are judged, finish, fail, are handed back, or lose their workers.

    Every yield is a moment at which another worker may act, everything between two a transaction.
    """

    def __init__(self, n_trials: int, seed: int) -> None:
        self.n_trials = n_trials
        self.states: dict[int, State] = {}
        self.origins: dict[int, int] = {}  # of copies
        self.given_back: set[int] = set()
        self.orphans: list[int] = []  # running, their workers dead
        self.surplus = self.deaths = self.second_copies = self.lost = 0
        self.dice = random.Random(seed)

    def ledger(self) -> Ledger:
        found = ledger(dict(self.states), dict(self.origins))
        in_hand = dict.fromkeys(self.given_back - set(found.copies), State.IN_HAND)
        found.states.update(in_hand)
        return found

    def worker(self) -> Action:
        """Work as `kidneyseg.search.worker` does."""
        while True:
            yield from self.watch()
            counts = self.ledger().tally()
            yield
            if counts.finished >= self.n_trials:
                return
            if counts.waiting == 0 and counts.counting >= self.n_trials:
                continue
            number = self.ask()
            yield
            seen = self.ledger()
            yield
            if not seen.may_train(number, self.n_trials):
                self.states[number] = State.FAIL
                self.surplus += 1
                self.lost += seen.is_copy(number)
                continue
            yield from self.train(number)

    def watch(self) -> Action:
        """Hand back what dead workers held, and copy what was handed back: twice, if need be."""
        for number in self.ledger().in_hand:
            yield
            self.second_copies += number in self.origins.values()
            self.put_in_line(number)
        while self.orphans:
            number = self.orphans.pop()
            yield from self.hand_back(number)

    def ask(self) -> int:
        """Take a waiting trial, else make one."""
        waiting = [number for number, state in self.states.items() if state == State.WAITING]
        number = min(waiting) if waiting else len(self.states)
        self.states[number] = State.RUNNING
        return number

    def hand_back(self, number: int) -> Action:
        """End a trial, then put its hyper-parameters in line; somebody may die in between."""
        self.states[number] = State.FAIL
        self.given_back.add(number)
        yield
        if self.dice.random() < 0.3:
            raise DiedError
        self.put_in_line(number)

    def put_in_line(self, number: int) -> None:
        self.origins[len(self.states)] = number
        self.states[len(self.states)] = State.WAITING

    def train(self, number: int) -> Action:
        for _ in range(self.dice.randrange(6)):
            yield
        end = self.dice.random()
        if end < 0.1:
            self.states[number] = State.FAIL
        elif end < 0.3:
            yield from self.hand_back(number)
        elif end < 0.4:
            self.orphans.append(number)
            raise DiedError
        else:
            self.states[number] = State.COMPLETE if end < 0.7 else State.PRUNED


def simulate(n_workers: int, n_trials: int, seed: int) -> SimulatedStudy:
    """Run workers, each of which is replaced when it dies."""
    study = SimulatedStudy(n_trials, seed)
    workers = [study.worker() for _ in range(n_workers)]
    while workers:
        worker = study.dice.choice(workers)
        try:
            next(worker)
        except StopIteration:
            workers.remove(worker)
        except DiedError:
            study.deaths += 1
            workers[workers.index(worker)] = study.worker()
        assert study.ledger().tally().finished <= n_trials
    return study


@pytest.mark.parametrize("n_workers", [1, 2, 8])
@pytest.mark.parametrize("n_trials", [1, 3, 10])
def test_any_interleaving_of_workers_ends_with_exactly_n(n_workers: int, n_trials: int) -> None:
    for seed in range(40):
        study = simulate(n_workers, n_trials, seed)
        assert study.ledger().tally().finished == n_trials, seed
        assert not study.lost, "the epochs of a trial that was handed back were thrown away"


def test_workers_of_the_simulation_do_overshoot_die_and_copy_twice() -> None:
    """Else the simulation would show nothing."""
    studies = [simulate(8, 10, seed) for seed in range(20)]
    assert sum(study.surplus for study in studies) > 20
    assert sum(study.deaths for study in studies) > 20
    assert sum(study.second_copies for study in studies) > 5


def test_no_trial_goes_on_as_two() -> None:
    for seed in range(20):
        study = simulate(8, 10, seed)
        copies = study.ledger().copies.values()
        finished = {n for n, state in study.ledger().states.items() if state in COUNTING[:2]}
        assert not (finished & set(study.origins)) - set(copies), seed


def test_without_the_rank_rule_workers_would_train_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Ledger, "may_train", lambda *_: True)
    with pytest.raises(AssertionError):
        [simulate(8, 3, seed) for seed in range(40)]


@pytest.mark.parametrize("seed", range(20))
def test_of_any_history_the_first_n_that_count_may_train(seed: int) -> None:
    dice = random.Random(seed)
    states = {number: dice.choice(list(State)) for number in range(dice.randrange(1, 30))}
    n_trials = dice.randrange(1, 12)
    counting = [number for number, state in states.items() if state in COUNTING]
    seen = ledger(states)
    allowed = [number for number in counting if seen.may_train(number, n_trials)]
    assert allowed == counting[:n_trials]


def test_a_tally_counts_finished_and_those_that_may_still_finish() -> None:
    states = dict(enumerate([*State, State.COMPLETE, State.RUNNING, State.RUNNING]))
    counts = ledger(states).tally()
    assert (counts.complete, counts.pruned, counts.failed) == (2, 1, 1)
    assert (counts.running, counts.waiting, counts.in_hand) == (3, 1, 1)
    assert counts.finished == 3
    assert counts.counting == 8


def test_only_the_first_copy_of_a_trial_may_train() -> None:
    states = {0: State.FAIL, **dict.fromkeys((1, 2, 3), State.WAITING)}
    seen = ledger(states, origins={1: 0, 2: 0, 3: 2})
    assert [seen.may_train(number, 99) for number in (1, 2, 3)] == [True, False, True]


def test_a_copy_has_the_place_of_the_trial_that_it_goes_on_with() -> None:
    """However many others began meanwhile, and are yet to be told that they are surplus."""
    states = {0: State.COMPLETE, 1: State.FAIL, 2: State.RUNNING, 3: State.RUNNING}
    seen = ledger(states, origins={3: 1})
    assert seen.may_train(3, 2)
    assert not seen.may_train(2, 2)


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


def fail(study: optuna.Study, outcome: str) -> None:
    trial = study.ask()
    trial.set_user_attr(OUTCOME, outcome)
    study.tell(trial, state=TrialState.FAIL)


def test_a_handed_back_trial_counts_until_its_copy_is_in_line_and_then_the_copy_does(
    either_storage: Storage,
) -> None:
    study = optuna.create_study(storage=either_storage.optuna, study_name="a")
    fail(study, f"{HANDED_BACK}: its worker died")
    fail(study, "failed: ValueError: no")
    fail(study, SURPLUS)
    newcomer = study.ask().number
    before = read_ledger(either_storage, study._study_id)
    assert before.in_hand == [0]
    assert before.tally().counting == 2
    assert not before.may_train(newcomer, 1)
    for _ in range(2):
        study.enqueue_trial({"x": 1}, user_attrs={LINEAGE: [0]})
    after = read_ledger(either_storage, study._study_id)
    assert after.in_hand == []
    assert after.states[0] == State.FAIL
    assert (after.copies, after.origins) == ({0: 4}, {4: 0, 5: 0})
    assert not after.may_train(newcomer, 1)
    assert [after.may_train(copy, 1) for copy in (4, 5)] == [True, False]


def test_a_trial_that_went_on_twice_is_known_by_each_step(either_storage: Storage) -> None:
    study = optuna.create_study(storage=either_storage.optuna, study_name="a")
    fail(study, HANDED_BACK)
    study.enqueue_trial({"x": 1}, user_attrs={LINEAGE: [0]})
    fail(study, HANDED_BACK)
    assert read_ledger(either_storage, study._study_id).in_hand == [1]
    study.enqueue_trial({"x": 1}, user_attrs={LINEAGE: [0, 1]})
    found = read_ledger(either_storage, study._study_id)
    assert found.in_hand == []
    assert (found.copies, found.origins) == ({0: 1, 1: 2}, {1: 0, 2: 1})
