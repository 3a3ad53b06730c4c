"""The best trial, or a given one, as a model folder; nothing else is touched."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import TrialState

from kidneyseg.errors import KidneysegError, ModelError, StudyError
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.folder import load_model, save_model
from kidneyseg.model.recording import Recording, record
from kidneyseg.provenance import Provenance
from kidneyseg.runs import Runs
from kidneyseg.search.artifacts import find_artifacts, upload_model
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.export import Keep, export_trial
from kidneyseg.search.folder_store import FolderStore
from kidneyseg.search.keeping import remove_surplus_models
from kidneyseg.search.lineage import TAKEN_OVER
from kidneyseg.search.revalidation import Revalidation, prepare_validation, revalidate
from kidneyseg.search.service import BegunStudy, begin_study
from kidneyseg.search.storage import open_storage
from kidneyseg.search.studies import Study
from kidneyseg.settings import Environment
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.trainer import Training

CPU = torch.device("cpu")


def train(begun: BegunStudy, runs: Runs, learning_rate: float) -> None:
    """Ask for a trial, train it, and tell it, as a worker does."""
    trial = begun.study.optuna.ask()
    settings = begun.cases.environment
    training, validation = begun.cases.datasets(list(begun.cases.prepare()))
    setup = TrainingSetup(
        data=settings.data,
        network=settings.network,
        training=settings.training,
        evaluation=settings.evaluation,
        hyperparameters=Hyperparameters(learning_rate=learning_rate, batch_size=8),
        seed=0,
        cases=begun.study.definition.cases,
    )
    recording = Recording(
        model=runs.model("tiny", trial.number),
        tensorboard=runs.tensorboard("tiny", trial.number),
        checkpoints=runs.checkpoints("tiny", trial.number),
        pictures=None,
    )
    provenance = Provenance(
        data="d",
        split="e",
        code="f",
        versions={},
        seed=0,
        device="cpu",
        host="h",
        trial=trial.number,
    )
    *_, last = record(Training(setup, training, validation, CPU), recording, provenance)
    begun.study.optuna.tell(trial, last.best_dice)


@dataclass(frozen=True)
class Place:
    """A study with two complete trials whose models lie in the runs folder alone."""

    begun: BegunStudy
    keep: Keep

    @property
    def study(self) -> Study:
        return self.begun.study

    @property
    def runs(self) -> Runs:
        return self.keep.runs


def begin(folder: Path, plan: StudyPlan, environment: Environment) -> Place:
    storage, runs = open_storage(f"sqlite:///{folder}/studies.db"), Runs(folder / "runs")
    keep = Keep(storage=storage, store=FolderStore(runs.artifacts), runs=runs)
    return Place(begun=begin_study(storage, "tiny", plan, environment), keep=keep)


@pytest.fixture(scope="module")
def trained(
    environment_in: Callable[[Path], Environment],
    build_plan: Callable[..., StudyPlan],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with a database and runs: two complete trials."""
    folder = tmp_path_factory.mktemp("trained")
    place = begin(folder, build_plan(), environment_in(folder / "runs"))
    for learning_rate in (0.01, 0.03):
        train(place.begun, place.runs, learning_rate)
    place.keep.storage.engine.dispose()
    return folder


@pytest.fixture
def place(
    trained: Path, tmp_path: Path, environment: Environment, build_plan: Callable[..., StudyPlan]
) -> Iterator[Place]:
    """A copy of the two trials."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    opened = begin(tmp_path, build_plan(), environment)
    yield opened
    opened.keep.storage.engine.dispose()


@pytest.fixture
def empty(
    tmp_path: Path, environment: Environment, build_plan: Callable[..., StudyPlan]
) -> Iterator[Place]:
    opened = begin(tmp_path, build_plan(), environment)
    yield opened
    opened.keep.storage.engine.dispose()


def refusal(place: Place, kind: type[KidneysegError], out: Path, number: int | None = None) -> str:
    with pytest.raises(kind) as caught:
        export_trial(place.keep, "tiny", out, number)
    message = str(caught.value)
    assert "\n" not in message
    return message


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_best_complete_trial_is_exported(place: Place, tmp_path: Path) -> None:
    study = place.study
    exported = export_trial(place.keep, "tiny", tmp_path / "out")
    assert exported.trial == study.optuna.best_trial.number
    model = load_model(tmp_path / "out", CPU)
    assert model.description == exported.description
    assert model.description.validation.dice == study.optuna.best_value
    assert contents(tmp_path / "out") == contents(place.runs.model("tiny", exported.trial))


def test_a_given_trial_is_exported(place: Place, tmp_path: Path) -> None:
    for number in (0, 1):
        exported = export_trial(place.keep, "tiny", tmp_path / "out", number)
        assert exported.trial == exported.description.provenance.trial == number
        assert load_model(tmp_path / "out", CPU).description.provenance.trial == number


def test_of_a_result_that_was_taken_over_the_source_is_exported(
    place: Place, tmp_path: Path
) -> None:
    """The smaller of two numbers may be the one that took over: it is the best, then."""
    study = place.study
    best = max(study.optuna.trials, key=lambda trial: trial.value or 0)
    study.optuna.add_trial(optuna.trial.create_trial(value=1, user_attrs={TAKEN_OVER: best.number}))
    assert study.optuna.best_trial.number == 2
    exported = export_trial(place.keep, "tiny", tmp_path / "out")
    assert exported.trial == best.number
    assert exported.description.validation.dice == best.value


def test_a_pruned_trial_is_exported_when_named_and_never_best(place: Place, tmp_path: Path) -> None:
    study, runs = place.study, place.runs
    trial = study.optuna.ask()
    trial.report(2.0, 1)
    study.optuna.tell(trial, state=TrialState.PRUNED)
    shutil.copytree(runs.model("tiny", 0), runs.model("tiny", trial.number))
    assert export_trial(place.keep, "tiny", tmp_path / "best").trial < trial.number
    export_trial(place.keep, "tiny", tmp_path / "pruned", trial.number)
    assert (tmp_path / "pruned" / "model.json").is_file()


def test_trials_that_are_not_finished_are_refused(place: Place, tmp_path: Path) -> None:
    study = place.study.optuna
    study.ask()
    study.tell(study.ask(), state=TrialState.FAIL)
    study.enqueue_trial({"beta": 1.0})
    out = tmp_path / "out"
    for number, state in ((2, "running"), (3, "fail"), (4, "waiting"), (5, "not there")):
        assert refusal(place, StudyError, out, number) == (
            f"study 'tiny': trial {number} is {state}; expected a complete or pruned one"
        )
    assert not out.exists()


def test_a_study_without_a_complete_trial_has_no_best(empty: Place, tmp_path: Path) -> None:
    study = empty.study.optuna
    study.tell(study.ask(), state=TrialState.PRUNED)
    message = refusal(empty, StudyError, tmp_path / "out")
    assert message.startswith("study 'tiny': no trial is complete yet, so none is best")


def test_a_study_that_is_not_there_is_told(place: Place, tmp_path: Path) -> None:
    for number in (None, 0):
        with pytest.raises(StudyError, match="study 'tny': not in"):
            export_trial(place.keep, "tny", tmp_path / "o", number)


def test_a_checkpoint_that_was_removed_is_told(place: Place, tmp_path: Path) -> None:
    shutil.rmtree(place.runs.model("tiny", 0))
    message = refusal(place, ModelError, tmp_path / "out", 0)
    assert "the checkpoint of trial 0 is not there" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_damaged_checkpoint_is_not_exported(
    place: Place, tmp_path: Path, name: str, damage: str
) -> None:
    path = place.runs.model("tiny", 0) / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-10])
    assert name in refusal(place, ModelError, tmp_path / "out", 0)
    assert not (tmp_path / "out").exists()


def test_an_older_export_is_replaced(place: Place, tmp_path: Path) -> None:
    runs, out = place.runs, tmp_path / "out"
    export_trial(place.keep, "tiny", out, 0)
    export_trial(place.keep, "tiny", out, 1)
    assert contents(out) == contents(runs.model("tiny", 1))


def test_an_empty_folder_is_filled(place: Place, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_trial(place.keep, "tiny", tmp_path / "out")
    assert load_model(tmp_path / "out", CPU)


@pytest.mark.parametrize("names", [["notes.txt"], ["README.md"], ["model.json", "photo.jpg"]])
def test_a_folder_of_something_else_is_left_untouched(
    place: Place, tmp_path: Path, names: list[str]
) -> None:
    """A README.md alone is anybody's."""
    out = tmp_path / "out"
    out.mkdir()
    for name in names:
        (out / name).write_text("mine", encoding="utf-8")
    before = contents(out)
    message = refusal(place, ModelError, out)
    assert message == f"{out}: holds something else; expected a new folder or a model folder"
    assert contents(out) == before


def test_a_file_in_its_place_is_left_untouched(place: Place, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    assert "holds something else" in refusal(place, ModelError, tmp_path / "out")
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


def test_exporting_changes_neither_runs_nor_study(place: Place, tmp_path: Path) -> None:
    before = contents(place.runs.model("tiny", 0))
    export_trial(place.keep, "tiny", tmp_path / "out", 0)
    assert contents(place.runs.model("tiny", 0)) == before
    again = open_storage(f"sqlite:///{tmp_path / 'studies.db'}")
    assert len(again.optuna.get_all_trials(place.study.id)) == 2
    again.engine.dispose()


def upload(place: Place) -> None:
    """Put the two trials' models among the artifacts, as before they were told."""
    for number in (0, 1):
        trial = place.study.optuna.ask()
        upload_model(
            place.keep.store, place.study, trial._trial_id, place.runs.model("tiny", number)
        )
        place.study.optuna.tell(trial, place.study.optuna.trials[number].value)
        shutil.copytree(place.runs.model("tiny", number), place.runs.model("tiny", trial.number))


def damage_artifact(place: Place, number: int) -> None:
    trial = place.study.optuna.trials[number]
    artifact_id = dict(find_artifacts(place.keep.storage, trial._trial_id))["model.safetensors"]
    (place.runs.artifacts / artifact_id).write_bytes(b"torn")


def test_a_model_comes_from_the_artifacts(place: Place, tmp_path: Path) -> None:
    upload(place)
    expected = contents(place.runs.model("tiny", 2))
    shutil.rmtree(place.runs.study("tiny"))
    exported = export_trial(place.keep, "tiny", tmp_path / "out", 2)
    assert exported.trial == 2
    assert contents(tmp_path / "out") == expected


def test_where_the_artifact_is_damaged_the_runs_folder_is_used(
    place: Place, tmp_path: Path
) -> None:
    upload(place)
    damage_artifact(place, 2)
    export_trial(place.keep, "tiny", tmp_path / "out", 2)
    assert contents(tmp_path / "out") == contents(place.runs.model("tiny", 2))


def test_a_damaged_artifact_is_not_exported(place: Place, tmp_path: Path) -> None:
    upload(place)
    damage_artifact(place, 2)
    shutil.rmtree(place.runs.model("tiny", 2))
    message = refusal(place, ModelError, tmp_path / "out", 2)
    assert f"its model in {place.runs.artifacts} is damaged" in message
    assert not (tmp_path / "out").exists()


def test_a_model_that_was_removed_is_told_with_the_cure(place: Place, tmp_path: Path) -> None:
    upload(place)
    (number,) = remove_surplus_models(place.study, place.keep.store, place.runs, k=1)
    assert refusal(place, ModelError, tmp_path / "out", number) == (
        f"trial {number} of study 'tiny': its model was removed: not among the best 1; raise "
        "common.keep_best before a search, or train it again with kidneyseg train"
    )


def test_a_model_of_another_training_is_refused(place: Place, tmp_path: Path) -> None:
    """The runs folder may hold what an older study of the name has left."""
    shutil.rmtree(place.runs.model("tiny", 0))
    shutil.copytree(place.runs.model("tiny", 1), place.runs.model("tiny", 0))
    assert "it is of another training" in refusal(place, ModelError, tmp_path / "out", 0)
    assert not (tmp_path / "out").exists()


def test_weights_that_do_not_fit_the_network_are_refused(place: Place, tmp_path: Path) -> None:
    path = place.runs.model("tiny", 0) / "model.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    description["network"]["filters"] = 6
    path.write_text(json.dumps(description), encoding="utf-8")
    assert "does not fit the network" in refusal(place, ModelError, tmp_path / "out", 0)
    assert not (tmp_path / "out").exists()


def validate_again(place: Place, folder: Path) -> Revalidation:
    prepared = list(prepare_validation(place.begun.cases))
    assert [case.name for case in prepared] == list(place.begun.cases.split.validation)
    return revalidate(place.begun, prepared, folder, "cpu")


def test_an_exported_model_gives_the_recorded_dice(place: Place, tmp_path: Path) -> None:
    for number in (0, 1):
        exported = export_trial(place.keep, "tiny", tmp_path / "out", number)
        found = validate_again(place, tmp_path / "out")
        assert found.agrees
        assert not found.is_other
        assert found.dice == found.recorded == place.study.optuna.trials[number].value
        assert found.dice_of_case == exported.description.validation.dice_of_case
        assert (found.device, found.recorded_device) == ("cpu", "cpu")


def test_a_model_that_gives_another_dice_is_seen(place: Place, tmp_path: Path) -> None:
    export_trial(place.keep, "tiny", tmp_path / "out")
    model = load_model(tmp_path / "out", CPU)
    with torch.no_grad():
        model.network.classifier.get_parameter("bias").add_(100)  # all is kidney
    save_model(tmp_path / "out", model.network, model.description)
    found = validate_again(place, tmp_path / "out")
    assert not found.agrees
    assert found.is_other
    assert 0 < found.dice < 0.5


@pytest.mark.parametrize(
    ("device", "difference", "is_other"),
    [("cpu", 1e-5, False), ("cpu", 1e-3, True), ("cuda:0", 1e-3, False), ("cuda:0", 0.02, True)],
)
def test_another_kind_of_device_may_round_otherwise(
    device: str, difference: float, is_other: bool
) -> None:
    found = Revalidation(
        dice=0.9 + difference,
        dice_of_case={},
        device=device,
        recorded=0.9,
        recorded_device="cpu",
    )
    assert found.is_other == is_other
    assert not found.agrees
