"""From what a person asked for to a place to work: on the right data only."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna_dashboard import get_note

from kidneyseg.errors import SettingsError, StudyError
from kidneyseg.phantom.data_set import RECIPE
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.service import begin_study, check_budget, join_study, study_environment
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import study_names
from kidneyseg.settings import Environment

Relocate = Callable[..., Environment]


@pytest.fixture
def plan(build_plan: Callable[..., StudyPlan]) -> StudyPlan:
    return build_plan()


@pytest.fixture
def elsewhere(environment: Environment, tmp_path: Path) -> Relocate:
    """The same settings on a copy of the data, with runs and cache of its own."""

    def relocate(*, without: str | None = None) -> Environment:
        copy = tmp_path / "copy"
        shutil.copytree(str(environment.data.folder), copy)
        if without is not None:
            shutil.rmtree(copy / without)
        data = environment.data.model_copy(update={"folder": copy, "cache": tmp_path / "cache"})
        common = environment.common.model_copy(update={"runs": tmp_path / "other_runs"})
        return environment.model_copy(update={"data": data, "common": common})

    return relocate


def test_a_workplace_has_the_development_cases_and_what_the_machine_says(
    storage: Storage, plan: StudyPlan, environment: Environment
) -> None:
    common = environment.common.model_copy(
        update={"pictures": False, "grace_seconds": 33.0, "patience_minutes": 2.0}
    )
    begun = begin_study(storage, "tiny", plan, environment.model_copy(update={"common": common}))
    workplace = begun.workplace("cpu", place=3)
    split = begun.cases.split
    names = {case.name for case in workplace.cases.prepare()}
    assert names == {*split.training, *split.validation}
    assert not names & set(split.test)
    assert workplace.runs.folder == environment.common.runs
    assert (workplace.device, workplace.place, workplace.pictures) == ("cpu", 3, False)
    assert workplace.grace_seconds == 33
    assert storage.patience.seconds == 120


def test_cores_are_shared_out_among_the_workers_of_a_machine(
    storage: Storage,
    plan: StudyPlan,
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kidneyseg.search.service.count_cores", lambda: 12)
    begun = begin_study(storage, "tiny", plan, environment)
    threads = {n: begun.workplace("cpu", n_workers=n).threads for n in (1, 2, 5, 12, 100)}
    assert threads == {1: 12, 2: 6, 5: 2, 12: 1, 100: 1}


def test_each_workplace_has_a_sampler_and_a_stop_of_its_own(
    storage: Storage, plan: StudyPlan, environment: Environment
) -> None:
    begun = begin_study(storage, "tiny", plan, environment)
    first, second = (begun.workplace("cpu", place) for place in range(2))
    assert first.study.id == second.study.id
    assert first.study.optuna.sampler is not second.study.optuna.sampler
    first.stopping.set()
    assert not second.stopping.is_set()


def test_a_study_is_gone_on_with_on_a_copy_of_its_data(
    storage: Storage, plan: StudyPlan, environment: Environment, elsewhere: Relocate
) -> None:
    first = begin_study(storage, "tiny", plan, environment)
    assert begin_study(storage, "tiny", plan, elsewhere()).study.id == first.study.id


def test_a_study_of_phantoms_says_so_and_goes_on_where_nothing_says_so(
    storage: Storage, plan: StudyPlan, environment: Environment, elsewhere: Relocate
) -> None:
    drawn = elsewhere()
    assert drawn.data.folder is not None
    (drawn.data.folder / RECIPE).touch()
    study = begin_study(storage, "tiny", plan, drawn).study
    assert "**Phantom scans**" in get_note(study.optuna)
    again = begin_study(storage, "tiny", plan, environment).study
    assert (again.id, again.definition.phantoms) == (study.id, True)
    scans = begin_study(storage, "scans", plan, environment).study
    assert "Phantom" not in get_note(scans.optuna)


def test_a_study_begun_on_other_data_is_refused(
    storage: Storage, plan: StudyPlan, environment: Environment, elsewhere: Relocate
) -> None:
    begun = begin_study(storage, "tiny", plan, environment)
    other = elsewhere(without=begun.cases.split.test[0])
    with pytest.raises(StudyError, match=r"begun with something else: data was \w+\.\.\. and is"):
        begin_study(storage, "tiny", plan, other)
    with pytest.raises(StudyError, match=r"begun with something else: data was \w+\.\.\. and is"):
        join_study(storage, "tiny", other)


def test_who_joins_takes_the_studys_settings_and_their_own_folders(
    storage: Storage, plan: StudyPlan, environment: Environment, elsewhere: Relocate
) -> None:
    study = begin_study(storage, "tiny", plan, environment).study
    there = elsewhere()
    training = there.training.model_copy(update={"max_epochs": 99})
    found = study_environment(study, there.model_copy(update={"training": training}))
    assert found == there
    joined = join_study(storage, "tiny", there)
    assert joined.study.id == study.id
    assert joined.cases.environment == there


def test_a_study_that_is_not_there_cannot_be_joined(
    storage: Storage, environment: Environment
) -> None:
    with pytest.raises(StudyError, match="study 'tiny': not in"):
        join_study(storage, "tiny", environment)


def test_a_device_that_is_not_there_is_told_before_a_study_is_made(
    storage: Storage, plan: StudyPlan, environment: Environment
) -> None:
    common = environment.common.model_copy(update={"device": "cuda:99"})
    with pytest.raises(SettingsError, match="device 'cuda:99'"):
        begin_study(storage, "tiny", plan, environment.model_copy(update={"common": common}))
    assert study_names(storage) == []


@pytest.mark.parametrize("n_trials", [0, -3])
def test_a_budget_below_1_is_refused(n_trials: int) -> None:
    with pytest.raises(StudyError, match=f"--n-trials {n_trials}: expected 1 or more"):
        check_budget(n_trials)
    assert check_budget(1) == 1


def test_a_worker_without_a_gpu_does_not_join_a_study_in_tf32(
    storage: Storage, plan: StudyPlan, environment: Environment
) -> None:
    training = environment.training.model_copy(update={"precision": "tf32"})
    tf32 = environment.model_copy(update={"training": training})
    begin_study(storage, "tiny", plan, tf32)
    with pytest.raises(SettingsError, match="'tf32' on cpu"):
        join_study(storage, "tiny", environment).workplace("cpu")
