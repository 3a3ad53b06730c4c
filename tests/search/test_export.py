"""The best trial, or a given one, as a model folder; nothing else is touched."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState

from kidneyseg.errors import KidneysegError, ModelError, StudyError
from kidneyseg.model.folder import load_model
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.export import export_trial
from kidneyseg.search.objective import Workplace
from kidneyseg.search.service import begin_study
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.worker import work
from kidneyseg.settings import Environment

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(
    environment_in: Callable[[Path], Environment],
    build_plan: Callable[..., StudyPlan],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with a database and runs: two complete trials."""
    folder = tmp_path_factory.mktemp("trained")
    storage = open_storage(f"sqlite:///{folder}/studies.db")
    begun = begin_study(storage, "tiny", build_plan(), environment_in(folder / "runs"))
    list(work(begun.workplace("cpu"), 2))
    storage.engine.dispose()
    return folder


@pytest.fixture
def workplace(
    trained: Path, tmp_path: Path, storage: Storage, build_workplace: Callable[..., Workplace]
) -> Workplace:
    """A copy of the two trials."""
    storage.engine.dispose()
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return build_workplace(storage)


@pytest.fixture
def empty(storage: Storage, build_workplace: Callable[..., Workplace]) -> Workplace:
    return build_workplace(storage)


def refusal(
    workplace: Workplace, kind: type[KidneysegError], out: Path, number: int | None = None
) -> str:
    with pytest.raises(kind) as caught:
        export_trial(workplace.study.storage, "tiny", workplace.runs, out, number)
    message = str(caught.value)
    assert "\n" not in message
    return message


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_best_complete_trial_is_exported(workplace: Workplace, tmp_path: Path) -> None:
    study = workplace.study
    exported = export_trial(study.storage, "tiny", workplace.runs, tmp_path / "out")
    assert exported.trial == study.optuna.best_trial.number
    model = load_model(tmp_path / "out", CPU)
    assert model.description == exported.description
    assert model.description.validation.dice == study.optuna.best_value
    assert contents(tmp_path / "out") == contents(workplace.runs.model("tiny", exported.trial))


def test_a_given_trial_is_exported(workplace: Workplace, tmp_path: Path) -> None:
    for number in (0, 1):
        storage, runs = workplace.study.storage, workplace.runs
        exported = export_trial(storage, "tiny", runs, tmp_path / "out", number)
        assert exported.trial == exported.description.provenance.trial == number
        assert load_model(tmp_path / "out", CPU).description.provenance.trial == number


def test_a_pruned_trial_is_exported_when_named_and_never_best(
    workplace: Workplace, tmp_path: Path
) -> None:
    study, runs = workplace.study, workplace.runs
    trial = study.optuna.ask()
    trial.report(2.0, 1)
    study.optuna.tell(trial, state=TrialState.PRUNED)
    shutil.copytree(runs.model("tiny", 0), runs.model("tiny", trial.number))
    assert export_trial(study.storage, "tiny", runs, tmp_path / "best").trial < trial.number
    export_trial(study.storage, "tiny", runs, tmp_path / "pruned", trial.number)
    assert (tmp_path / "pruned" / "model.json").is_file()


def test_trials_that_are_not_finished_are_refused(workplace: Workplace, tmp_path: Path) -> None:
    study = workplace.study.optuna
    study.ask()
    study.tell(study.ask(), state=TrialState.FAIL)
    study.enqueue_trial({"beta": 1.0})
    out = tmp_path / "out"
    for number, state in ((2, "running"), (3, "fail"), (4, "waiting"), (5, "not there")):
        assert refusal(workplace, StudyError, out, number) == (
            f"study 'tiny': trial {number} is {state}; expected a complete or pruned one"
        )
    assert not out.exists()


def test_a_study_without_a_complete_trial_has_no_best(empty: Workplace, tmp_path: Path) -> None:
    study = empty.study.optuna
    study.tell(study.ask(), state=TrialState.PRUNED)
    message = refusal(empty, StudyError, tmp_path / "out")
    assert message.startswith("study 'tiny': no trial is complete yet, so none is best")


def test_a_study_that_is_not_there_is_told(workplace: Workplace, tmp_path: Path) -> None:
    for number in (None, 0):
        with pytest.raises(StudyError, match="study 'tny': not in"):
            export_trial(workplace.study.storage, "tny", workplace.runs, tmp_path / "o", number)


def test_a_checkpoint_that_was_removed_is_told(workplace: Workplace, tmp_path: Path) -> None:
    shutil.rmtree(workplace.runs.model("tiny", 0))
    message = refusal(workplace, ModelError, tmp_path / "out", 0)
    assert "the checkpoint of trial 0 is not there" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_damaged_checkpoint_is_not_exported(
    workplace: Workplace, tmp_path: Path, name: str, damage: str
) -> None:
    path = workplace.runs.model("tiny", 0) / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-10])
    assert name in refusal(workplace, ModelError, tmp_path / "out", 0)
    assert not (tmp_path / "out").exists()


def test_an_older_export_is_replaced(workplace: Workplace, tmp_path: Path) -> None:
    storage, runs, out = workplace.study.storage, workplace.runs, tmp_path / "out"
    export_trial(storage, "tiny", runs, out, 0)
    export_trial(storage, "tiny", runs, out, 1)
    assert contents(out) == contents(runs.model("tiny", 1))


def test_an_empty_folder_is_filled(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_trial(workplace.study.storage, "tiny", workplace.runs, tmp_path / "out")
    assert load_model(tmp_path / "out", CPU)


@pytest.mark.parametrize("names", [["notes.txt"], ["README.md"], ["model.json", "photo.jpg"]])
def test_a_folder_of_something_else_is_left_untouched(
    workplace: Workplace, tmp_path: Path, names: list[str]
) -> None:
    """A README.md alone is anybody's."""
    out = tmp_path / "out"
    out.mkdir()
    for name in names:
        (out / name).write_text("mine")
    before = contents(out)
    message = refusal(workplace, ModelError, out)
    assert message == f"{out}: holds something else; expected a new folder or a model folder"
    assert contents(out) == before


def test_a_file_in_its_place_is_left_untouched(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    assert "holds something else" in refusal(workplace, ModelError, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_exporting_changes_neither_runs_nor_study(workplace: Workplace, tmp_path: Path) -> None:
    before = contents(workplace.runs.model("tiny", 0))
    export_trial(workplace.study.storage, "tiny", workplace.runs, tmp_path / "out", 0)
    assert contents(workplace.runs.model("tiny", 0)) == before
    again = open_storage(f"sqlite:///{tmp_path / 'studies.db'}")
    assert len(again.optuna.get_all_trials(workplace.study.id)) == 2
    again.engine.dispose()
