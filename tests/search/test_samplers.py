"""Which point comes next depends on the study and the trial's number, not on who asks."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.study import Study
from optuna.trial import TrialState

from kidneyseg.search.definition import StudyDefinition, StudyPlan
from kidneyseg.search.samplers import StudySampler, trial_seed
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.settings import Environment

START = {"learning_rate": 0.01, "beta": 0.5}
STEPS = {
    "learning_rate": {"type": "categorical", "choices": [0.001, 0.01, 0.1]},
    "beta": {"type": "float", "low": 0.5, "high": 2.5, "step": 0.25},
}
SAMPLERS: list[dict[str, Any]] = [
    {"sampler": {"name": "random"}},
    {"sampler": {"name": "tpe", "n_startup_trials": 3}},
    {"sampler": {"name": "gp", "n_startup_trials": 4}},
    {"sampler": {"name": "cmaes", "population": 4}},
    {"sampler": {"name": "qmc"}},
    {"sampler": {"name": "grid"}, "space": STEPS},
]
MIXED = {
    "learning_rate": {"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
    "sampling": {"type": "categorical", "choices": ["uniform", "balanced"]},
    "batch_size": {"type": "int", "low": 4, "high": 12, "step": 4},
    "network": {
        "filters": {"type": "int", "low": 4, "high": 16, "log": True},
        "activation": {
            "type": "categorical",
            "choices": ["relu", "prelu"],
            "only_if": {"sampling": "balanced"},
        },
    },
}
every_sampler = pytest.mark.parametrize(
    "changes", SAMPLERS, ids=lambda changes: "-".join(map(str, changes["sampler"].values()))
)

Define = Callable[..., StudyDefinition]
NewStudy = Callable[[StudyDefinition], Study]


@pytest.fixture
def define(build_plan: Callable[..., StudyPlan], environment: Environment) -> Define:
    def build(**changes: Any) -> StudyDefinition:
        plan = build_plan(**changes).model_copy(update={"fixed": {}})
        return plan.definition(environment, data="d", split="s")

    return build


@pytest.fixture
def new_study(storage: Storage) -> NewStudy:
    """Create a study in the test's SQLite database."""

    def create(definition: StudyDefinition) -> Study:
        sampler = StudySampler(definition, storage)
        return optuna.create_study(storage=storage.optuna, sampler=sampler, direction="maximize")

    return create


def draw(study: Study, definition: StudyDefinition) -> dict[str, Any]:
    """Draw the next trial's point and tell the trial a value that depends on it alone."""
    trial = study.ask()
    definition.draw(trial)
    value = -abs(trial.params.get("beta", 0) - 1) - trial.params["learning_rate"]
    study.tell(trial, value)
    return trial.params


def another_worker(study: Study, definition: StudyDefinition) -> Study:
    """The same study with a sampler of its own, as a worker that comes later has it."""
    assert isinstance(study.sampler, StudySampler)
    sampler = StudySampler(definition, study.sampler._storage)
    return optuna.load_study(study_name=study.study_name, storage=study._storage, sampler=sampler)


@every_sampler
def test_trial_0_is_the_start_point(
    define: Define, new_study: NewStudy, changes: dict[str, Any]
) -> None:
    definition = define(**changes)
    study = new_study(definition)
    assert draw(study, definition) == START
    assert draw(study, definition) != START


@pytest.mark.parametrize("name", ["random", "tpe", "gp", "qmc"])
def test_what_a_start_point_leaves_open_is_drawn(
    define: Define, new_study: NewStudy, name: str
) -> None:
    definition = define(start_points=({"beta": 0.25},), sampler={"name": name})
    point = draw(new_study(definition), definition)
    assert point["beta"] == 0.25
    assert 1e-3 <= point["learning_rate"] <= 1e-1


def test_without_start_points_trial_0_is_drawn(define: Define, new_study: NewStudy) -> None:
    definition = define(start_points=())
    assert draw(new_study(definition), definition) != START


@every_sampler
def test_suggestions_depend_neither_on_who_asks_nor_on_who_was_there_before(
    define: Define, new_study: NewStudy, sqlite_address: str, changes: dict[str, Any]
) -> None:
    definition = define(**changes)
    alone = new_study(definition)
    expected = [draw(alone, definition) for _ in range(7)]
    shared = new_study(definition)
    workers = [another_worker(shared, definition) for _ in range(3)]
    found = [draw(workers[i % 3], definition) for i in range(4)]
    opened = open_storage(sqlite_address)
    restarted = optuna.load_study(
        study_name=shared.study_name,
        storage=opened.optuna,
        sampler=StudySampler(definition, opened),
    )
    found += [draw(restarted, definition) for _ in range(3)]
    opened.engine.dispose()
    assert found == expected


@every_sampler
def test_8_workers_that_draw_at_once_draw_different_points(
    define: Define, new_study: NewStudy, changes: dict[str, Any]
) -> None:
    definition = define(start_points=(), **changes)
    study = new_study(definition)
    for _ in range(4):
        draw(study, definition)
    workers = [another_worker(study, definition) for _ in range(4)]
    trials = [worker.ask() for worker in workers * 2]
    for worker_trial in reversed(trials):  # who begins first need not draw first
        definition.draw(worker_trial)
    assert len({tuple(trial.params.values()) for trial in trials}) == 8


@every_sampler
def test_another_seed_suggests_other_points(
    define: Define, new_study: NewStudy, changes: dict[str, Any]
) -> None:
    points = []
    for seed in (0, 1):
        definition = define(seed=seed, start_points=(), **changes)
        study = new_study(definition)
        points.append([draw(study, definition) for _ in range(2)])
    assert points[0] != points[1]


@pytest.mark.parametrize(
    ("sampler", "n_trials"),
    [
        ({"name": "tpe", "n_startup_trials": 5}, 40),
        ({"name": "gp", "n_startup_trials": 5}, 14),
        ({"name": "cmaes"}, 48),
    ],
    ids=["tpe", "gp", "cmaes"],
)
def test_samplers_that_learn_go_where_values_are_high(
    define: Define, new_study: NewStudy, sampler: dict[str, Any], n_trials: int
) -> None:
    """The best is beta = 1. At random, log 3 / log 100 = 24 % would lie between 0.5 and 1.5."""
    definition = define(sampler=sampler, start_points=())
    study = new_study(definition)
    betas = [draw(study, definition)["beta"] for _ in range(n_trials)]
    late = [abs(beta - 1) < 0.5 for beta in betas[-n_trials // 3 :]]
    assert sum(late) / len(late) > 0.48


@pytest.mark.parametrize("name", ["random", "tpe", "gp", "qmc", "grid"])
def test_mixed_spaces_with_conditions_and_network_settings_are_drawn(
    define: Define, new_study: NewStudy, name: str
) -> None:
    rate = {"type": "categorical", "choices": [0.001, 0.01]} if name == "grid" else None
    space = {**MIXED, **({"learning_rate": rate} if rate else {})}
    sampler = {"name": name, **({"n_startup_trials": 9} if name in ("tpe", "gp") else {})}
    definition = define(space=space, start_points=(), sampler=sampler)
    study = new_study(definition)
    points = [draw(study, definition) for _ in range(12)]
    for point in points:
        assert ("network.activation" in point) == (point["sampling"] == "balanced")
        assert point["batch_size"] in (4, 8, 12)
        assert 4 <= point["network.filters"] <= 16
    assert {point["sampling"] for point in points} == {"uniform", "balanced"}


@every_sampler
def test_every_start_point_is_tried_when_the_first_is_handed_back(
    define: Define, new_study: NewStudy, changes: dict[str, Any]
) -> None:
    """Trial 1 then has trial 0's point, and trial 2 the second start point."""
    points = ({"learning_rate": 0.01, "beta": 0.5}, {"learning_rate": 0.001, "beta": 0.75})
    definition = define(start_points=points, **changes)
    study = new_study(definition)
    trial = study.ask()
    definition.draw(trial)
    study.enqueue_trial(trial.params)
    study.tell(trial, state=TrialState.FAIL)
    assert [draw(study, definition) for _ in range(2)] == list(points)
    assert draw(study, definition) not in points


def test_the_sequence_begins_after_the_start_points(define: Define, new_study: NewStudy) -> None:
    points = []
    for starts in ((), (START,)):
        definition = define(sampler={"name": "qmc"}, start_points=starts)
        study = new_study(definition)
        points.append([draw(study, definition) for _ in range(3)])
    assert points[1] == [START, *points[0][:2]]


@pytest.mark.parametrize("name", ["cmaes", "gp"])
def test_nothing_is_noted_as_drawn_on_a_trial_whose_point_was_given(
    define: Define, new_study: NewStudy, name: str
) -> None:
    """It would count as a member of a generation, or as a point that it is not at."""
    settings = {"cmaes": {}, "gp": {"n_startup_trials": 1}}[name]
    definition = define(sampler={"name": name, **settings}, start_points=())
    study = new_study(definition)
    for _ in range(2):
        draw(study, definition)
    study.enqueue_trial({"beta": 2.0})
    assert draw(study, definition)["beta"] == 2.0
    noted = [set(trial.system_attrs) for trial in study.trials]
    assert noted[1] != set()
    assert noted[2] == {"fixed_params"}


def test_seeds_of_trials_and_of_studies_differ() -> None:
    seeds = {trial_seed(seed, number) for seed in range(20) for number in range(100)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**32 for seed in seeds)
