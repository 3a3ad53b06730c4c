"""Studies in the database: created once, gone on with, told apart."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest

from kidneyseg.errors import SettingsError, StudyError
from kidneyseg.search import studies
from kidneyseg.search.definition import StudyDefinition, StudyPlan
from kidneyseg.search.orders import ask_to_stop, claim, read_order
from kidneyseg.search.samplers import StudySampler
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.studies import load_study, open_study, study_names
from kidneyseg.settings import Environment


@pytest.fixture
def definition(build_plan: Callable[..., StudyPlan], environment: Environment) -> StudyDefinition:
    return build_plan().definition(environment, data="d", split="s")


def test_a_new_study_keeps_its_definition(
    either_storage: Storage, definition: StudyDefinition
) -> None:
    created = open_study(either_storage, "tiny", definition)
    assert created.definition == definition
    assert created.optuna.direction == optuna.study.StudyDirection.MAXIMIZE
    loaded = load_study(either_storage, "tiny")
    assert loaded.definition == definition
    assert loaded.id == created.id
    assert isinstance(loaded.optuna.sampler, StudySampler)


def test_opening_again_goes_on_with_the_same_study(
    either_storage: Storage, definition: StudyDefinition
) -> None:
    first = open_study(either_storage, "tiny", definition)
    first.optuna.ask()
    again = open_study(either_storage, "tiny", definition)
    assert again.id == first.id
    assert len(again.optuna.trials) == 1
    assert study_names(either_storage) == ["tiny"]


def test_another_definition_is_refused_and_changes_nothing(
    storage: Storage, definition: StudyDefinition
) -> None:
    open_study(storage, "tiny", definition)
    other = definition.model_copy(update={"data": "other"})
    with pytest.raises(StudyError, match="data was d and is now other"):
        open_study(storage, "tiny", other)
    assert load_study(storage, "tiny").definition == definition


def test_a_budget_only_rises(either_storage: Storage, definition: StudyDefinition) -> None:
    study = open_study(either_storage, "tiny", definition)
    seen = [study.n_trials]
    for n_trials in (5, 3, 9):
        study.ask_for(n_trials)
        seen.append(load_study(either_storage, "tiny").n_trials)
    assert seen == [0, 5, 5, 9]


def test_a_study_that_is_not_there_is_told_with_those_that_are(
    storage: Storage, definition: StudyDefinition
) -> None:
    with pytest.raises(StudyError, match=r"study 'tiny': not in sqlite:.*there: none$"):
        load_study(storage, "tiny")
    for name in ("a", "b"):
        open_study(storage, name, definition)
    with pytest.raises(StudyError, match="the studies there: a, b"):
        load_study(storage, "tiny")


def test_a_study_of_another_program_is_refused(
    storage: Storage, definition: StudyDefinition
) -> None:
    theirs = optuna.create_study(storage=storage.optuna, study_name="theirs")
    theirs.ask()
    with pytest.raises(StudyError, match=r"'theirs' .* was not begun by this version"):
        load_study(storage, "theirs")
    with pytest.raises(StudyError, match=r"'theirs' .* was not begun by this version"):
        open_study(storage, "theirs", definition)


@pytest.mark.parametrize("claimed", [False, True])
def test_a_study_whose_creator_was_killed_before_defining_it_is_taken_over(
    storage: Storage,
    definition: StudyDefinition,
    claimed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(studies, "DEFINING_SECONDS", 0.1)
    created = optuna.create_study(storage=storage.optuna, study_name="tiny", direction="maximize")
    if claimed:
        claim(storage, created._study_id)
    assert open_study(storage, "tiny", definition).definition == definition
    assert load_study(storage, "tiny").definition == definition


def test_of_many_who_begin_a_study_at_once_one_defines_it_and_the_others_are_refused(
    address: str, definition: StudyDefinition
) -> None:
    storages = [open_storage(address) for _ in range(6)]
    ready = threading.Barrier(len(storages))

    def begin(k: int) -> str:
        ready.wait(30)
        mine = definition.model_copy(update={"data": f"data {k}"})
        try:
            return open_study(storages[k], "tiny", mine).definition.data
        except StudyError as refused:
            return str(refused)

    with ThreadPoolExecutor(len(storages)) as threads:
        told = list(threads.map(begin, range(len(storages))))
    kept = load_study(storages[0], "tiny").definition.data
    for k, words in enumerate(told):
        if kept == f"data {k}":
            assert words == kept
        else:
            assert f"data was {kept} and is now data {k}" in words
    for storage in storages:
        storage.engine.dispose()


def test_a_study_that_was_stopped_goes_on_when_more_is_asked_of_it(
    storage: Storage, definition: StudyDefinition
) -> None:
    study = open_study(storage, "tiny", definition)
    ask_to_stop(storage, study.id, "by hand", now=True)
    study.ask_for(3)
    assert read_order(storage, study.id).stop is None


@pytest.mark.parametrize("name", ["", "a/b", "..", "cache", "phantom", "a b", "x" * 101])
def test_a_name_that_cannot_be_a_folders_is_refused(
    storage: Storage, definition: StudyDefinition, name: str
) -> None:
    with pytest.raises(SettingsError, match="study name"):
        open_study(storage, name, definition)
    assert study_names(storage) == []
