"""Which models are kept: the best few's and the unfinished ones', whoever looks and when."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState

from kidneyseg.errors import StorageLostError
from kidneyseg.runs import Runs
from kidneyseg.search.artifacts import find_artifacts, find_trial_id, upload_model, upload_pictures
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.folder_store import FolderStore
from kidneyseg.search.hand_back import end_trial, hand_back
from kidneyseg.search.keeping import read_model_note, remove_surplus_models, sweep_folders
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.studies import Study, load_study, open_study
from kidneyseg.settings import Environment

SaveModel = Callable[[Path, float], Path]
Begin = Callable[..., int]
DICE = (0.5, 0.9, 0.1, 0.7, 0.9, 0.3)


@pytest.fixture
def study(
    either_storage: Storage, build_plan: Callable[..., StudyPlan], environment: Environment
) -> Study:
    definition = build_plan().definition(environment, data="d" * 64, split="e" * 64)
    return open_study(either_storage, "tiny", definition)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


@pytest.fixture
def begin(study: Study, store: FolderStore, runs: Runs, save_a_model: SaveModel) -> Begin:
    """Begin a trial and give it all the files that a training leaves."""

    def begin(dice: float, *, upload: bool = True) -> int:
        trial = study.optuna.ask({})
        trial.suggest_float("beta", 0, 1)  # something to hand back
        number = trial.number
        model = save_a_model(runs.model("tiny", number), dice)
        for folder in (runs.checkpoints, runs.tensorboard, runs.pictures):
            folder("tiny", number).mkdir(parents=True)
            (folder("tiny", number) / "a.png").write_bytes(b"file")
        if upload:
            upload_pictures(store, study, trial._trial_id, runs.pictures("tiny", number))
            upload_model(store, study, trial._trial_id, model)
        return number

    return begin


def tell(study: Study, number: int, value: float) -> None:
    study.optuna.tell(number, value)


def trial_id(study: Study, number: int) -> int:
    return find_trial_id(study.storage, "tiny", number)


def kept(study: Study, runs: Runs) -> list[int]:
    """The numbers of the trials whose models lie in the store, and on this disk, the same."""
    numbers = range(len(study.optuna.get_trials(deepcopy=False)))
    found = []
    for number in numbers:
        names = [name for name, _ in find_artifacts(study.storage, trial_id(study, number))]
        assert "a.png" in names
        assert ("model.json" in names) == ("model.safetensors" in names)
        assert runs.model("tiny", number).is_dir() == ("model.json" in names)
        if "model.json" in names:
            found.append(number)
    return found


def test_the_models_of_the_best_are_kept_and_of_equals_the_first(
    study: Study, store: FolderStore, runs: Runs, begin: Begin
) -> None:
    for dice in DICE:
        tell(study, begin(dice), dice)
    assert remove_surplus_models(study, store, runs, k=3) == [0, 2, 5]
    assert kept(study, runs) == [1, 3, 4]
    assert remove_surplus_models(study, store, runs, k=1) == [3, 4]
    assert kept(study, runs) == [1] == [study.optuna.best_trial.number]
    assert remove_surplus_models(study, store, runs, k=1) == []


def test_removed_after_each_trial_the_same_are_left_as_at_the_end(
    study: Study, store: FolderStore, runs: Runs, begin: Begin
) -> None:
    for dice in DICE:
        number = begin(dice)
        tell(study, number, dice)
        remove_surplus_models(study, store, runs, k=3, ended=number)
        best = sorted(range(number + 1), key=lambda n: (-DICE[n], n))[:3]
        assert kept(study, runs) == sorted(best)


def test_log_and_pictures_stay_and_checkpoints_go(
    study: Study, store: FolderStore, runs: Runs, begin: Begin
) -> None:
    for dice in (0.5, 0.25):
        tell(study, begin(dice), dice)
    remove_surplus_models(study, store, runs, k=1)
    left = {path.name for path in runs.trial("tiny", 1).iterdir()}
    assert left == {"tensorboard", "pictures"}
    assert len(list(store.folder.iterdir())) == 5  # a model of three files and two pictures


def test_models_of_unfinished_trials_are_kept(
    study: Study, store: FolderStore, runs: Runs, begin: Begin
) -> None:
    tell(study, begin(0.9), 0.9)
    begin(0.1)
    assert remove_surplus_models(study, store, runs, k=1) == []
    assert kept(study, runs) == [0, 1]


@pytest.mark.parametrize("upload", [True, False])
def test_the_model_of_a_pruned_trial_goes_at_once(
    study: Study, store: FolderStore, runs: Runs, begin: Begin, *, upload: bool
) -> None:
    number = begin(0.9, upload=upload)
    study.optuna.tell(number, state=TrialState.PRUNED)
    assert remove_surplus_models(study, store, runs, k=5, ended=number) == [number]
    assert not runs.model("tiny", number).exists()
    assert not runs.checkpoints("tiny", number).exists()
    note = read_model_note(study.storage, trial_id(study, number))
    assert note == "removed: the trial was pruned"


def test_the_model_of_a_failed_trial_goes(
    study: Study, store: FolderStore, runs: Runs, begin: Begin
) -> None:
    number = begin(0.9)
    end_trial(study, trial_id(study, number), "failed: out of memory")
    assert remove_surplus_models(study, store, runs, k=5) == [number]
    assert kept(study, runs) == []


def test_files_of_a_trial_that_was_handed_back_are_left_to_the_next(
    study: Study, store: FolderStore, runs: Runs, begin: Begin
) -> None:
    number = begin(0.9)
    hand_back(study, trial_id(study, number))
    assert remove_surplus_models(study, store, runs, k=5, ended=number) == [number]
    assert remove_surplus_models(study, store, runs, k=5, ended=number) == []
    assert len(list(store.folder.iterdir())) == 1  # the picture
    assert runs.model("tiny", number).is_dir()
    assert runs.checkpoints("tiny", number).is_dir()
    note = read_model_note(study.storage, trial_id(study, number))
    assert note == "removed: another trial goes on with it"


def test_a_trial_without_a_model_of_its_own_takes_no_place(
    study: Study, store: FolderStore, runs: Runs, begin: Begin
) -> None:
    """Its value was taken over from a trial with the same hyper-parameters."""
    tell(study, begin(0.5), 0.5)
    taken_over = study.optuna.ask()
    study.optuna.tell(taken_over, 0.9)
    assert remove_surplus_models(study, store, runs, k=1, ended=taken_over.number) == []
    assert runs.model("tiny", 0).is_dir()


def test_a_removed_model_is_told_where_people_look(
    study: Study, store: FolderStore, runs: Runs, begin: Begin
) -> None:
    for dice in (0.5, 0.25):
        tell(study, begin(dice), dice)
    remove_surplus_models(study, store, runs, k=1)
    fresh = study.storage.rdb
    notes = [fresh.get_trial(trial_id(study, n)).user_attrs["model"] for n in (0, 1)]
    assert notes == ["kept", "removed: not among the best 1"]


def test_a_removal_that_broke_off_is_finished_by_the_next(
    study: Study, store: FolderStore, runs: Runs, begin: Begin
) -> None:
    for dice in (0.5, 0.25):
        tell(study, begin(dice), dice)

    class Breaking(FolderStore):
        def remove(self, artifact_id: str) -> None:
            super().remove(artifact_id)
            raise StorageLostError("away")

    with pytest.raises(StorageLostError):
        remove_surplus_models(study, Breaking(store.folder), runs, k=1)
    assert remove_surplus_models(study, store, runs, k=1) == [1]
    assert kept(study, runs) == [0]


def test_many_workers_at_once_keep_exactly_the_best(
    study: Study, store: FolderStore, runs: Runs, begin: Begin, address: str
) -> None:
    """Each with a connection of its own, all removing while trials are told."""
    numbers = [begin(dice) for dice in DICE]
    errors: list[BaseException] = []
    start = threading.Barrier(3)

    def work(mine: list[int]) -> None:
        storage = open_storage(address)
        try:
            own = load_study(storage, "tiny")
            start.wait(20)
            for number in mine:
                tell(own, number, DICE[number])
                remove_surplus_models(own, store, runs, 2, number)
        except BaseException as error:  # noqa: BLE001 - told in the test's thread
            errors.append(error)
        finally:
            storage.engine.dispose()

    threads = [threading.Thread(target=work, args=(numbers[i::3],)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert kept(study, runs) == [1, 4]
    assert len(list(store.folder.iterdir())) == 2 * 3 + len(DICE)


def left(runs: Runs, number: int) -> list[str]:
    """What may be swept of a trial's files, and lies there."""
    folders = {"model": runs.model, "checkpoints": runs.checkpoints}
    return [name for name, folder in folders.items() if folder("tiny", number).is_dir()]


def test_what_killed_workers_left_is_swept(
    study: Study, runs: Runs, begin: Begin, tmp_path: Path
) -> None:
    complete, pruned, failed, running = (begin(0.5) for _ in range(4))
    ids = [trial._trial_id for trial in study.optuna.trials]
    study.optuna.tell(complete, 0.5)
    study.optuna.tell(pruned, state=TrialState.PRUNED)
    end_trial(study, ids[failed], "failed: its worker died, 3 times")
    torn, fresh = (runs.study("tiny") / f".trial_0000{n}.aa.tmp" for n in (7, 8))
    for leftover in (torn, fresh):
        leftover.mkdir()
    os.utime(torn, (0, 0))
    assert sweep_folders(study, runs) == [complete, pruned, failed]
    found = [left(runs, number) for number in (complete, pruned, failed, running)]
    assert found == [["model"], [], [], ["model", "checkpoints"]]
    assert (torn.exists(), fresh.exists()) == (False, True)
    assert sweep_folders(study, runs) == []
    assert runs.pictures("tiny", pruned).is_dir()


def test_what_the_next_one_has_yet_to_fetch_is_left(study: Study, runs: Runs, begin: Begin) -> None:
    """Through any number of hands."""
    first = begin(0.5)
    hand_back(study, study.optuna.trials[first]._trial_id)
    second = study.optuna.ask()
    assert sweep_folders(study, runs) == []
    hand_back(study, second._trial_id)
    assert sweep_folders(study, runs) == []
    third = study.optuna.ask()
    assert left(runs, first) == ["model", "checkpoints"]
    runs.checkpoints("tiny", third.number).mkdir(parents=True)
    assert sweep_folders(study, runs) == [first]
    assert left(runs, third.number) == ["checkpoints"]


def test_of_a_study_without_files_nothing_is_swept(study: Study, runs: Runs) -> None:
    assert sweep_folders(study, runs) == []
