"""The same hyper-parameters are not trained twice."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from optuna.trial import TrialState

from kidneyseg.search.hand_back import end_trial, hand_back, put_in_line
from kidneyseg.search.lineage import TAKEN_OVER
from kidneyseg.search.storage import open_storage
from kidneyseg.search.studies import Study, load_study
from kidneyseg.search.twins import digest, find_twin, take_over

BeginTrial = Callable[..., optuna.Trial]
POINT = {"learning_rate": 0.01, "beta": 0.5}
OTHER = {"learning_rate": 0.01, "beta": 0.6}


def begin(study: Study, begin_trial: BeginTrial, point: dict[str, float] = POINT) -> optuna.Trial:
    """Begin a trial at a point."""
    study.optuna.enqueue_trial(point)
    return begin_trial(study)


def twin_of(study: Study, trial: optuna.Trial) -> tuple[int, bool] | None:
    twin = find_twin(study, trial)
    return None if twin is None else (twin.trial.number, twin.is_finished)


def test_a_trial_of_its_own_has_no_twin(study: Study, begin_trial: BeginTrial) -> None:
    begin(study, begin_trial, OTHER)
    assert twin_of(study, begin(study, begin_trial)) is None


def test_of_two_that_run_the_later_one_has_a_twin(study: Study, begin_trial: BeginTrial) -> None:
    first, second = (begin(study, begin_trial) for _ in range(2))
    assert twin_of(study, first) is None
    assert twin_of(study, second) == (0, False)


def test_of_two_that_drew_at_once_the_later_one_may_be_the_first_to_look(
    study: Study, begin_trial: BeginTrial
) -> None:
    slow, quick = (begin(study, begin_trial) for _ in range(2))
    assert twin_of(study, quick) is None
    assert twin_of(study, slow) == (1, False)
    study.optuna.tell(quick, 0.5)
    assert twin_of(study, slow) == (1, True)


@pytest.mark.slow
def test_8_who_look_at_once_find_one_owner(
    address: str, either_study: Study, begin_trial: BeginTrial
) -> None:
    trials = [begin(either_study, begin_trial) for _ in range(8)]
    storages = [open_storage(address) for _ in trials]
    studies = [load_study(storage, either_study.name) for storage in storages]
    with ThreadPoolExecutor(len(trials)) as pool:
        found = list(pool.map(twin_of, studies, trials))
    assert found.count(None) == 1
    assert set(found) == {None, (found.index(None), False)}
    for storage in storages:
        storage.engine.dispose()


def test_a_point_is_known_however_its_numbers_are_written() -> None:
    assert digest({"a": 1, "b": "x", "c": True}) == digest({"c": True, "b": "x", "a": 1.0})
    assert digest({"a": 1}) != digest({"a": True})
    assert digest({"a": 1}) != digest({"b": 1})


def test_a_failed_one_is_no_twin(study: Study, begin_trial: BeginTrial) -> None:
    failed = begin(study, begin_trial)
    assert twin_of(study, failed) is None
    end_trial(study, failed._trial_id, "failed: no")
    assert twin_of(study, begin(study, begin_trial)) is None


def test_the_trial_that_one_goes_on_with_is_no_twin(study: Study, begin_trial: BeginTrial) -> None:
    """Even where its own worker, frozen and woken, finished it in the last moment."""
    before = begin(study, begin_trial)
    assert twin_of(study, before) is None
    hand_back(study, before._trial_id)
    assert twin_of(study, begin_trial(study)) is None


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
def test_a_result_is_taken_over_with_its_curve_and_marked(
    study: Study, begin_trial: BeginTrial, state: TrialState
) -> None:
    source, trial = (begin(study, begin_trial) for _ in range(2))
    assert find_twin(study, source) is None
    for epoch, dice in enumerate((0.25, 0.5, 0.375), start=1):
        source.report(dice, epoch)
    kept = {"best epoch": 2, "best validation Dice": 0.5, "validation Dice of each case": {"a": 1}}
    for key, value in {**kept, "provenance": "the source's own"}.items():
        source.set_user_attr(key, value)
    study.optuna.tell(source, 0.5 if state == TrialState.COMPLETE else None, state)
    twin = find_twin(study, trial)
    assert twin is not None
    assert take_over(study, trial, twin.trial) == 0
    first, second = study.optuna.trials
    assert second.state == first.state == state
    assert second.value == first.value
    assert second.intermediate_values == {1: 0.25, 2: 0.5, 3: 0.375}
    assert second.user_attrs == {**kept, TAKEN_OVER: 0}


def test_a_result_taken_over_twice_is_still_the_first_ones(
    study: Study, begin_trial: BeginTrial
) -> None:
    first, second, third = (begin(study, begin_trial) for _ in range(3))
    study.optuna.tell(first, 0.5)
    frozen = study.optuna.trials
    take_over(study, second, frozen[0])
    assert take_over(study, third, study.optuna.trials[1]) == 0
    assert study.optuna.trials[2].user_attrs[TAKEN_OVER] == 0


def test_one_that_was_handed_back_and_is_in_line_is_a_twin_that_goes_first(
    study: Study, begin_trial: BeginTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = begin(study, begin_trial)
    later = begin(study, begin_trial)
    assert find_twin(study, before) is None
    with monkeypatch.context() as killed:
        killed.setattr("kidneyseg.search.hand_back._copy", lambda *_: None)
        hand_back(study, before._trial_id)
    in_hand = find_twin(study, later)
    assert in_hand is not None
    assert (in_hand.trial.number, in_hand.is_in_line, in_hand.is_finished) == (0, True, False)
    put_in_line(study, before.number)
    twin = find_twin(study, later)
    assert twin is not None
    assert (twin.trial.number, twin.is_in_line, twin.is_finished) == (2, True, False)
