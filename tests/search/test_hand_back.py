"""Trials that are given back go on under a new number; those that are ended stay so."""

from collections.abc import Callable

import optuna
import pytest
from optuna.trial import TrialState

from kidneyseg.search.budget import HANDED_BACK, OUTCOME, State, read_ledger
from kidneyseg.search.hand_back import (
    ATTEMPT,
    MAX_ATTEMPTS,
    end_trial,
    hand_back,
    put_in_line,
    reap_trial,
)
from kidneyseg.search.lineage import WENT_ON_AFTER, lineage
from kidneyseg.search.studies import Study

BeginTrial = Callable[..., optuna.Trial]
POINT = {"learning_rate": 0.01, "beta": 0.5}


@pytest.fixture
def study(either_study: Study) -> Study:
    return either_study


def states(study: Study) -> list[str]:
    return [trial.state.name for trial in study.optuna.trials]


def outcomes(study: Study) -> list[str | None]:
    return [trial.user_attrs.get(OUTCOME) for trial in study.optuna.trials]


def test_a_handed_back_trial_is_taken_up_with_its_hyperparameters_at_the_same_attempt(
    study: Study, begin_trial: BeginTrial
) -> None:
    begin_trial(study)  # the start point
    trial = begin_trial(study)
    drawn = dict(trial.params)
    assert drawn != POINT
    assert hand_back(study, trial._trial_id)
    assert outcomes(study)[1] == "handed back: its worker was asked to stop"
    assert states(study) == ["RUNNING", "FAIL", "WAITING"]
    again = begin_trial(study)
    assert (again.number, again.params) == (2, drawn)
    assert again.user_attrs[ATTEMPT] == 1


def test_a_trial_handed_back_before_it_drew_keeps_its_start_point(
    study: Study, begin_trial: BeginTrial
) -> None:
    trial = study.optuna.ask()
    assert hand_back(study, trial._trial_id)
    assert begin_trial(study).params == POINT


def test_a_trial_handed_back_twice_before_it_drew_keeps_its_hyperparameters(
    study: Study, begin_trial: BeginTrial
) -> None:
    begin_trial(study)
    drawn = begin_trial(study)
    for trial in (drawn, None):
        waiting = trial or study.optuna.ask()
        assert hand_back(study, waiting._trial_id)
    assert begin_trial(study).params == drawn.params


def test_a_trial_without_hyperparameters_is_ended_and_not_put_in_line(
    study: Study, begin_trial: BeginTrial
) -> None:
    begin_trial(study)
    trial = study.optuna.ask()
    assert hand_back(study, trial._trial_id)
    assert states(study) == ["RUNNING", "FAIL"]
    assert outcomes(study)[1] == "surplus: it was given back before it began"
    assert read_ledger(study.storage, study.id).in_hand == []


def test_a_copy_knows_all_numbers_that_its_hyperparameters_had(
    study: Study, begin_trial: BeginTrial
) -> None:
    for _ in range(3):
        hand_back(study, begin_trial(study)._trial_id)
    assert lineage(study.optuna.trials[-1]) == (0, 1, 2)


def test_hyperparameters_whose_workers_die_are_tried_three_times_in_all(
    study: Study, begin_trial: BeginTrial
) -> None:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        trial = begin_trial(study)
        assert trial.params == POINT
        assert trial.user_attrs.get(ATTEMPT, 1) == attempt
        assert reap_trial(study, trial._trial_id)
    assert MAX_ATTEMPTS == 3
    assert states(study) == ["FAIL"] * 3
    assert outcomes(study) == [
        "handed back: its worker died",
        "handed back: its worker died",
        "failed: its worker died, 3 times",
    ]


def test_whoever_gets_on_before_it_dies_begins_to_count_anew(
    study: Study, begin_trial: BeginTrial
) -> None:
    for finished in range(MAX_ATTEMPTS + 2):
        trial = begin_trial(study)
        trial.set_user_attr(WENT_ON_AFTER, finished)
        for epoch in range(1, finished + 2):
            trial.report(0.5, epoch)
        reap_trial(study, trial._trial_id)
    assert begin_trial(study).user_attrs[ATTEMPT] == 1
    assert states(study)[-1] == "RUNNING"


def test_a_hand_back_is_no_attempt(study: Study, begin_trial: BeginTrial) -> None:
    for _ in range(MAX_ATTEMPTS + 2):
        hand_back(study, begin_trial(study)._trial_id)
    assert begin_trial(study).params == POINT


def test_two_who_reap_the_same_trial_put_it_in_line_once(
    study: Study, begin_trial: BeginTrial
) -> None:
    trial = begin_trial(study)
    assert [reap_trial(study, trial._trial_id) for _ in range(2)] == [True, False]
    assert states(study) == ["FAIL", "WAITING"]


def test_the_words_of_a_death_are_in_the_outcome(study: Study, begin_trial: BeginTrial) -> None:
    trial = begin_trial(study)
    reap_trial(study, trial._trial_id, "its process was ended by SIGSEGV")
    assert outcomes(study)[0] == f"{HANDED_BACK}: its process was ended by SIGSEGV"


@pytest.mark.parametrize("end", [end_trial, hand_back, reap_trial])
def test_a_finished_trial_is_not_ended_again(
    study: Study, begin_trial: BeginTrial, end: Callable[..., bool]
) -> None:
    trial = begin_trial(study)
    study.optuna.tell(trial, 0.5)
    arguments = ("too late",) if end is end_trial else ()
    assert not end(study, trial._trial_id, *arguments)
    assert states(study) == ["COMPLETE"]
    assert outcomes(study) == [None]


def killed_between_fail_and_copy(study: Study, trial: optuna.Trial, attempt: int = 1) -> None:
    trial.set_user_attr(ATTEMPT, attempt)
    assert end_trial(study, trial._trial_id, f"{HANDED_BACK}: its worker died")


def test_a_missing_copy_is_put_in_line_as_the_trial_was(
    study: Study, begin_trial: BeginTrial
) -> None:
    trial = begin_trial(study)
    killed_between_fail_and_copy(study, trial, attempt=2)
    assert read_ledger(study.storage, study.id).in_hand == [0]
    put_in_line(study, 0)
    assert read_ledger(study.storage, study.id).in_hand == []
    copy = study.optuna.trials[1]
    assert copy.state == TrialState.WAITING
    assert (copy.user_attrs[ATTEMPT], lineage(copy)) == (2, (0,))
    assert begin_trial(study).params == trial.params


def test_of_two_copies_of_one_trial_the_second_is_beyond_the_budget(
    study: Study, begin_trial: BeginTrial
) -> None:
    killed_between_fail_and_copy(study, begin_trial(study))
    for _ in range(2):
        put_in_line(study, 0)
    ledger = read_ledger(study.storage, study.id)
    assert ledger.states == {0: State.FAIL, 1: State.WAITING, 2: State.WAITING}
    assert [ledger.may_train(number, 99) for number in (1, 2)] == [True, False]
