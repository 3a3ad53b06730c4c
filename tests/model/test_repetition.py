"""A training repeated from its model folder: the same weights, or the reason why not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kidneyseg import provenance
from kidneyseg.ct.development import DevelopmentCases, find_development_cases
from kidneyseg.errors import DataError, ModelError
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model import repetition
from kidneyseg.model.description import ModelDescription, load_description
from kidneyseg.model.folder import Model
from kidneyseg.model.repetition import (
    check_same_cases,
    differences,
    repeat_model,
    repeated_environment,
)
from kidneyseg.model.single_training import train_model
from kidneyseg.settings import Environment

EnvironmentIn = Callable[[Path], Environment]


@pytest.fixture
def described(
    environment_in: EnvironmentIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ModelDescription:
    """A training of four epochs with nothing as it is by default; the code stays the same."""
    monkeypatch.setattr(provenance, "code_fingerprint", lambda: "f" * 64)
    environment = environment_in(tmp_path / "first")
    training = environment.training.model_copy(
        update={"max_epochs": 4, "patience": 9, "small_batch_size": 3, "precision": "bfloat16"}
    )
    found = find_development_cases(environment.model_copy(update={"training": training}))
    hyperparameters = Hyperparameters(learning_rate=0.01, batch_size=7, augmentation=0.3)
    list(train_model(found, list(found.prepare()), hyperparameters, 5, tmp_path / "model"))
    return load_description(tmp_path / "model")


def test_a_repeated_training_gives_the_same_weights(
    described: ModelDescription, environment_in: EnvironmentIn, tmp_path: Path
) -> None:
    """From model.json and the data alone; and no epoch more than its best one."""
    here = environment_in(tmp_path / "second")
    found = find_development_cases(repeated_environment(described, here))
    check_same_cases(found, described)
    results = list(repeat_model(found, list(found.prepare()), described, tmp_path / "again"))
    repeated = load_description(tmp_path / "again")
    assert len(results) == described.validation.epoch
    assert repeated.weights_sha256 == described.weights_sha256
    assert repeated.validation == described.validation
    assert differences(described.provenance, repeated.provenance) == []
    assert list((tmp_path / "second" / "trainings").iterdir()) == []


def test_a_training_is_repeated_from_its_start_though_checkpoints_lie_there(
    described: ModelDescription, environment_in: EnvironmentIn, tmp_path: Path
) -> None:
    """In the runs folder of the first one, which was stopped after an epoch."""
    found = find_development_cases(
        repeated_environment(described, environment_in(tmp_path / "first"))
    )
    prepared = list(found.prepare())
    given = (described.hyperparameters, described.provenance.seed, tmp_path / "stopped")
    stopped = train_model(found, prepared, *given)
    next(stopped)
    stopped.close()
    assert list((tmp_path / "first" / "trainings").glob("*/checkpoints/*"))
    first = next(repeat_model(found, prepared, described, tmp_path / "again"))
    assert first.epoch == 1


def test_threads_are_those_recorded_and_then_those_of_before(
    model: Model, tiny_cases: DevelopmentCases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended at the best epoch, the third."""
    recorded = model.description.provenance.model_copy(update={"threads": 2})
    described = model.description.model_copy(update={"provenance": recorded})
    seen: list[int] = []

    def train(*_: object) -> Iterator[SimpleNamespace]:
        for epoch in range(1, 9):
            seen.append(torch.get_num_threads())
            yield SimpleNamespace(epoch=epoch)

    monkeypatch.setattr(repetition, "train_in", train)
    assert torch.get_num_threads() == 1
    list(repeat_model(tiny_cases, [], described, tmp_path / "again"))
    assert seen == [2, 2, 2]
    assert torch.get_num_threads() == 1


def test_paths_and_device_are_this_machines_and_all_else_the_models(
    described: ModelDescription, environment_in: EnvironmentIn, tmp_path: Path
) -> None:
    here = environment_in(tmp_path)
    found = repeated_environment(described, here)
    assert found.common == here.common
    assert (found.data.folder, found.data.cache) == (here.data.folder, here.data.cache)
    assert found.data.margin_slices == described.preprocessing.margin_slices
    assert found.training.precision == "bfloat16"
    assert (found.network, found.evaluation) == (described.network, described.evaluation)


def test_the_small_batch_is_the_one_that_memory_allowed(
    described: ModelDescription, environment_in: EnvironmentIn, tmp_path: Path
) -> None:
    left = {"small_batch_size": 1, "evaluation_batch_size": 2}
    validation = described.validation.model_copy(update=left)
    halved = described.model_copy(update={"validation": validation})
    found = repeated_environment(halved, environment_in(tmp_path))
    assert (found.training.small_batch_size, found.evaluation.batch_size) == (1, 2)


def test_a_model_of_before_the_settings_were_kept_is_refused(
    model: Model, environment_in: EnvironmentIn, tmp_path: Path
) -> None:
    older = ModelDescription.model_validate(
        model.description.model_dump(exclude={"training", "evaluation"})
    )
    with pytest.raises(ModelError, match=r"does not hold the settings of its training"):
        repeated_environment(older, environment_in(tmp_path))


@pytest.mark.parametrize(("name", "said"), [("data", "data set"), ("split", "split")])
def test_other_data_or_another_split_are_refused_by_name(
    model: Model, tiny_cases: DevelopmentCases, name: str, said: str
) -> None:
    split = tiny_cases.split
    recorded = {"data": split.data, "split": split.fingerprint, name: "0" * 64}
    told = model.description.provenance.model_copy(update=recorded)
    described = model.description.model_copy(update={"provenance": told})
    with pytest.raises(DataError, match=rf"^{said} [0-9a-f]{{16}}: .* trained on 0{{16}}; exp"):
        check_same_cases(tiny_cases, described)


def test_differences_name_what_was_not_the_same(model: Model) -> None:
    one = model.description.provenance
    versions = {**one.versions, "torch": "2.11"}
    other = one.model_copy(update={"threads": 2, "versions": versions, "code": "0", "seed": 3})
    assert differences(one, other) == [
        "threads 2 instead of ?",
        "torch 2.11 instead of 2.10",
        "another code of kidneyseg",
    ]
    assert differences(one, one) == []
