"""Which point comes next depends on the study and the trial's number, not on who asks."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.study import Study
from optuna.trial import TrialState

from kidneyseg.search.definition import StudyDefinition, StudyPlan
from kidneyseg.search.samplers import StudySampler, trial_seed
from kidneyseg.settings import Environment

START = {"learning_rate": 0.01, "beta": 0.5}
SAMPLERS = [{"name": "random"}, {"name": "tpe", "n_startup_trials": 3}]

Define = Callable[..., StudyDefinition]


@pytest.fixture
def define(build_plan: Callable[..., StudyPlan], environment: Environment) -> Define:
    def build(**changes: Any) -> StudyDefinition:
        return build_plan(**changes).definition(environment, data="d", split="s")

    return build


def new_study(definition: StudyDefinition) -> Study:
    return optuna.create_study(sampler=StudySampler(definition), direction="maximize")


def draw(study: Study, definition: StudyDefinition) -> dict[str, Any]:
    """Draw the next trial's point and tell the trial a value that depends on it alone."""
    trial = study.ask()
    definition.space.draw(trial, definition.fixed)
    study.tell(trial, -abs(trial.params["beta"] - 1) - trial.params["learning_rate"])
    return trial.params


def another_worker(study: Study, definition: StudyDefinition) -> Study:
    """The same study with a sampler of its own, as a worker that comes later has it."""
    return optuna.load_study(
        study_name=study.study_name, storage=study._storage, sampler=StudySampler(definition)
    )


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler["name"])
def test_trial_0_is_the_start_point(define: Define, sampler: dict[str, Any]) -> None:
    definition = define(sampler=sampler)
    study = new_study(definition)
    assert draw(study, definition) == START
    assert draw(study, definition) != START


def test_what_a_start_point_leaves_open_is_drawn(define: Define) -> None:
    definition = define(start_points=({"beta": 0.25},))
    point = draw(new_study(definition), definition)
    assert point["beta"] == 0.25
    assert 1e-3 <= point["learning_rate"] <= 1e-1


def test_without_start_points_trial_0_is_drawn(define: Define) -> None:
    definition = define(start_points=())
    assert draw(new_study(definition), definition) != START


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler["name"])
def test_a_study_run_in_two_calls_suggests_what_it_would_in_one(
    define: Define, sampler: dict[str, Any]
) -> None:
    definition = define(sampler=sampler)
    whole = new_study(definition)
    expected = [draw(whole, definition) for _ in range(9)]
    first = new_study(definition)
    found = [draw(first, definition) for _ in range(5)]
    second = another_worker(first, definition)
    found += [draw(second, definition) for _ in range(4)]
    assert found == expected


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler["name"])
def test_suggestions_do_not_depend_on_who_asks(define: Define, sampler: dict[str, Any]) -> None:
    definition = define(sampler=sampler)
    alone = new_study(definition)
    expected = [draw(alone, definition) for _ in range(8)]
    shared = new_study(definition)
    workers = [another_worker(shared, definition) for _ in range(3)]
    assert [draw(workers[i % 3], definition) for i in range(8)] == expected


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler["name"])
def test_8_workers_that_draw_at_once_draw_different_points(
    define: Define, sampler: dict[str, Any]
) -> None:
    definition = define(sampler=sampler, start_points=())
    study = new_study(definition)
    for _ in range(4):
        draw(study, definition)
    workers = [another_worker(study, definition) for _ in range(8)]
    trials = [worker.ask() for worker in workers]
    for worker_trial in trials:
        definition.space.draw(worker_trial, definition.fixed)
    assert len({tuple(trial.params.values()) for trial in trials}) == 8


def test_another_seed_suggests_other_points(define: Define) -> None:
    points = []
    for seed in (0, 1):
        definition = define(seed=seed, start_points=())
        points.append(draw(new_study(definition), definition))
    assert points[0] != points[1]


def test_tpe_learns_where_values_are_high(define: Define) -> None:
    """The best values lie at beta = 1, a quarter of the way down a range from 0.05 to 5."""
    definition = define(sampler={"name": "tpe", "n_startup_trials": 5}, start_points=())
    study = new_study(definition)
    betas = [draw(study, definition)["beta"] for _ in range(40)]
    near = [abs(beta - 1) < 0.5 for beta in betas]
    assert sum(near[-20:]) > 2 * sum(near[:10])


def test_every_start_point_is_tried_when_the_first_is_handed_back(define: Define) -> None:
    """Trial 1 then has trial 0's point, and trial 2 the second start point."""
    points = ({"learning_rate": 0.01, "beta": 0.5}, {"learning_rate": 0.02, "beta": 0.75})
    definition = define(start_points=points)
    study = new_study(definition)
    trial = study.ask()
    definition.space.draw(trial, definition.fixed)
    study.tell(trial, state=TrialState.FAIL)
    study.enqueue_trial(trial.params)
    assert [draw(study, definition) for _ in range(2)] == list(points)
    assert draw(study, definition) not in points


def test_seeds_of_trials_and_of_studies_differ() -> None:
    seeds = {trial_seed(seed, number) for seed in range(20) for number in range(100)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**32 for seed in seeds)
