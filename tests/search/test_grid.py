"""Every point of a grid once, whoever draws it and however trials end."""

import random
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.study import Study
from optuna.trial import Trial, TrialState

from kidneyseg.search.budget import HANDED_BACK, OUTCOME
from kidneyseg.search.definition import StudyDefinition, StudyPlan
from kidneyseg.search.grid import grid_points, most_trials
from kidneyseg.search.lineage import LINEAGE
from kidneyseg.search.samplers import StudySampler, start_point
from kidneyseg.search.storage import Storage
from kidneyseg.settings import Environment

SPACE = {
    "batch_size": {"type": "int", "low": 4, "high": 12, "step": 4},
    "sampling": {"type": "categorical", "choices": ["uniform", "balanced"]},
    "dropout": {
        "type": "float",
        "low": 0.1,
        "high": 0.4,
        "step": 0.1,
        "only_if": {"sampling": "balanced"},
    },
}
SIZE = 3 * (1 + 4)  # dropout varies for one of the two ways of sampling

Point = dict[str, Any]
Define = Callable[..., StudyDefinition]


@pytest.fixture
def define(build_plan: Callable[..., StudyPlan], environment: Environment) -> Define:
    def build(**changes: Any) -> StudyDefinition:
        values = {"sampler": {"name": "grid"}, "space": SPACE, "start_points": (), **changes}
        plan = build_plan(**values).model_copy(update={"fixed": {}})
        return plan.definition(environment, data="d", split="s")

    return build


@pytest.fixture
def definition(define: Define) -> StudyDefinition:
    return define()


@pytest.fixture
def study(storage: Storage, definition: StudyDefinition) -> Study:
    sampler = StudySampler(definition, storage)
    return optuna.create_study(storage=storage.optuna, sampler=sampler)


def draw(study: Study, definition: StudyDefinition) -> Trial:
    trial = study.ask()
    definition.draw(trial)
    return trial


def finished_points(study: Study) -> list[Point]:
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial.params for trial in trials]


def is_whole_grid(points: list[Point], definition: StudyDefinition) -> bool:
    def key(point: Point) -> str:
        return str(sorted(point.items()))

    return sorted(points, key=key) == sorted(grid_points(definition), key=key)


def test_a_grid_is_every_combination_that_conditions_allow(definition: StudyDefinition) -> None:
    expected = [{"batch_size": batch_size, "sampling": "uniform"} for batch_size in (4, 8, 12)] + [
        {"batch_size": batch_size, "sampling": "balanced", "dropout": dropout}
        for batch_size in (4, 8, 12)
        for dropout in (0.1, 0.2, 0.3, 0.4)
    ]
    points = grid_points(definition)
    assert len(points) == SIZE
    assert all(point in points for point in expected)


def test_the_order_is_the_seeds_and_start_points_come_first(define: Define) -> None:
    orders = [grid_points(define(seed=seed)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    starts = ({"sampling": "balanced", "dropout": 0.3}, {"batch_size": 8})
    points = grid_points(define(start_points=starts))
    assert len(points) == SIZE
    assert starts[0].items() <= points[0].items()
    assert starts[1].items() <= points[1].items()


def test_a_budget_ends_with_the_grid(define: Define) -> None:
    assert most_trials(define()) == SIZE
    assert most_trials(define(sampler={"name": "tpe"})) is None


def test_trials_together_are_the_grid(study: Study, definition: StudyDefinition) -> None:
    for _ in range(SIZE):
        study.tell(draw(study, definition), 0.5)
    assert is_whole_grid(finished_points(study), definition)


@pytest.mark.parametrize("seed", range(2))
def test_workers_that_fail_and_hand_back_at_random_leave_no_hole(
    study: Study, definition: StudyDefinition, seed: int
) -> None:
    """As many finished trials as points, over workers that begin, draw and end in any order."""
    dice = random.Random(seed)
    asked: list[Trial] = []
    drawn: list[Trial] = []
    while (n_finished := len(finished_points(study))) < SIZE:
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        n_waiting = states.count(TrialState.WAITING)
        if n_waiting or n_finished + len(asked) + len(drawn) < SIZE:
            asked.append(study.ask())
        if asked and dice.random() < 0.6:
            trial = asked.pop(dice.randrange(len(asked)))
            definition.draw(trial)
            drawn.append(trial)
        if drawn and dice.random() < 0.5:
            end(study, drawn.pop(dice.randrange(len(drawn))), dice.choice("ccccfh"))
    assert is_whole_grid(finished_points(study), definition)


def end(study: Study, trial: Trial, how: str) -> None:
    """End a trial as complete, failed, or handed back."""
    if how == "c":
        study.tell(trial, 0.5)
        return
    if how == "h":
        trial.set_user_attr(OUTCOME, f"{HANDED_BACK}: asked to stop")
    study.tell(trial, state=TrialState.FAIL)
    if how == "h":
        study.enqueue_trial(trial.params, user_attrs={LINEAGE: [trial.number]})


def test_a_failed_point_is_tried_again_but_not_one_in_hand(
    study: Study, definition: StudyDefinition
) -> None:
    failed, in_hand = draw(study, definition), draw(study, definition)
    in_hand.set_user_attr(OUTCOME, f"{HANDED_BACK}: its worker died")
    study.tell(failed, state=TrialState.FAIL)
    study.tell(in_hand, state=TrialState.FAIL)
    others = [draw(study, definition).params for _ in range(SIZE - 1)]
    assert failed.params in others
    assert in_hand.params not in others


def test_a_trial_that_never_drew_takes_no_point_away(
    study: Study, storage: Storage, definition: StudyDefinition
) -> None:
    """It was beyond the budget, or its worker died before."""
    trial = study.ask()
    frozen = study._storage.get_trial(trial._trial_id)
    assert start_point(definition, storage, study, frozen) == {}
    study.tell(trial, state=TrialState.FAIL)
    assert draw(study, definition).params == grid_points(definition)[0]


def test_trials_that_have_yet_to_choose_are_left_the_first_points(
    study: Study, definition: StudyDefinition
) -> None:
    """Two workers that stand between beginning a trial and claiming its point."""
    points = grid_points(definition)
    bare = optuna.load_study(study_name=study.study_name, storage=study._storage)
    early = [bare.ask(), bare.ask()]
    assert draw(study, definition).params == points[2]
    for trial, point in zip(early, points, strict=False):
        again = Trial(study, trial._trial_id)
        definition.draw(again)
        assert again.params == point
    assert draw(study, definition).params == points[3]


def test_a_claim_stays_what_it_was(
    study: Study, storage: Storage, definition: StudyDefinition
) -> None:
    """Whoever loads a running trial anew sees the point that it claimed at first."""
    trial = study.ask()
    assert trial.relative_params == {}  # the first look at what it draws
    point = start_point(definition, storage, study, study._storage.get_trial(trial._trial_id))
    assert point in grid_points(definition)
    draw(study, definition)
    again = Trial(study, trial._trial_id)
    definition.draw(again)
    assert again.params == point
