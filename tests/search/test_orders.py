"""What is asked of a study: the most of all calls, by whoever, at whatever instant."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import optuna
import pytest

from kidneyseg.search.orders import (
    Order,
    ask_for,
    ask_to_stop,
    claim,
    read_order,
    stop_unless_stopped,
)
from kidneyseg.search.storage import Storage, open_storage

T = TypeVar("T")
N_CALLERS = 8


@pytest.fixture
def callers(address: str) -> Iterator[list[Storage]]:
    """Connections of several machines to one database, with a study in it."""
    opened = [open_storage(address) for _ in range(N_CALLERS)]
    optuna.create_study(storage=opened[0].optuna, study_name="a")
    yield opened
    for storage in opened:
        storage.engine.dispose()


def at_once(callers: list[Storage], call: Callable[[Storage, int], T]) -> list[T]:
    with ThreadPoolExecutor(N_CALLERS) as threads:
        return list(threads.map(call, callers, range(N_CALLERS)))


def study_id(storage: Storage) -> int:
    return storage.optuna.get_study_id_from_name("a")


@pytest.fixture
def study(either_storage: Storage) -> optuna.Study:
    return optuna.create_study(storage=either_storage.optuna, study_name="a")


def test_where_nobody_asked_nothing_is_asked(either_storage: Storage, study: optuna.Study) -> None:
    assert read_order(either_storage, study._study_id) == Order()
    assert Order().n_trials == 0


def test_the_largest_number_is_asked_for(either_storage: Storage, study: optuna.Study) -> None:
    asked = []
    for n_trials in (5, 3, 9, 9, 1):
        ask_for(either_storage, study._study_id, n_trials)
        asked.append(read_order(either_storage, study._study_id).n_trials)
    assert asked == [5, 5, 9, 9, 9]


def test_of_many_who_ask_at_once_the_largest_is_kept(callers: list[Storage]) -> None:
    numbers = [17, 3, 42, 8, 41, 1, 40, 39]
    at_once(callers, lambda storage, k: ask_for(storage, study_id(storage), numbers[k]))
    assert read_order(callers[0], study_id(callers[0])).n_trials == 42


def test_of_many_who_claim_a_study_at_once_exactly_one_has_it(callers: list[Storage]) -> None:
    won = at_once(callers, lambda storage, _: claim(storage, study_id(storage)))
    assert won.count(True) == 1
    assert not claim(callers[0], study_id(callers[0]))


def test_a_stop_keeps_what_was_asked_for(either_storage: Storage, study: optuna.Study) -> None:
    ask_for(either_storage, study._study_id, 5)
    ask_to_stop(either_storage, study._study_id, "by hand")
    assert read_order(either_storage, study._study_id) == Order(n_trials=5, stop="by hand")
    ask_to_stop(either_storage, study._study_id, "by hand", now=True)
    order = read_order(either_storage, study._study_id)
    assert order == Order(n_trials=5, stop="by hand", stop_now=True)


def test_a_study_of_which_nothing_was_asked_can_be_stopped(
    either_storage: Storage, study: optuna.Study
) -> None:
    ask_to_stop(either_storage, study._study_id, "by hand")
    assert read_order(either_storage, study._study_id).stop == "by hand"


def test_who_asks_again_has_a_stopped_study_go_on_and_old_failures_forgotten(
    either_storage: Storage, study: optuna.Study
) -> None:
    ask_for(either_storage, study._study_id, 5)
    for _ in range(3):
        study.ask()
    ask_to_stop(either_storage, study._study_id, "by hand", now=True)
    ask_for(either_storage, study._study_id, 2)
    assert read_order(either_storage, study._study_id) == Order(n_trials=5, failures_from=3)


def test_a_study_s_order_goes_with_it_and_no_other(
    either_storage: Storage, study: optuna.Study
) -> None:
    other = optuna.create_study(storage=either_storage.optuna, study_name="b")
    for each in (study, other):
        ask_for(either_storage, each._study_id, 5)
    optuna.delete_study(storage=either_storage.optuna, study_name="a")
    assert read_order(either_storage, study._study_id) == Order()
    assert read_order(either_storage, other._study_id).n_trials == 5


def test_what_a_person_asked_to_stop_stays_as_it_was_asked(
    either_storage: Storage, study: optuna.Study
) -> None:
    ask_to_stop(either_storage, study._study_id, "asked by a person", now=True)
    stop_unless_stopped(either_storage, study._study_id, "the last 3 trials all failed")
    order = read_order(either_storage, study._study_id)
    assert (order.stop, order.stop_now) == ("asked by a person", True)
