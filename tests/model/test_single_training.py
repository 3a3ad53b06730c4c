"""One training outside a search: its best epoch is kept, with where it comes from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kidneyseg.ct.development import DevelopmentCases, find_development_cases
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.folder import load_model
from kidneyseg.model.single_training import train_model
from kidneyseg.settings import Environment
from kidneyseg.training.results import EpochResult
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.trainer import Training

CPU = torch.device("cpu")


def train(cases: DevelopmentCases, out: Path, seed: int = 5) -> list[EpochResult]:
    hyperparameters = Hyperparameters(learning_rate=0.01, batch_size=7)
    prepared = list(cases.prepare())
    return list(train_model(cases, prepared, hyperparameters, seed=seed, out=out))


@pytest.fixture
def longer(tiny_cases: DevelopmentCases) -> DevelopmentCases:
    """The tiny cases with four epochs and no early stop."""
    training = tiny_cases.environment.training.model_copy(update={"max_epochs": 4, "patience": 9})
    environment = tiny_cases.environment.model_copy(update={"training": training})
    return replace(tiny_cases, environment=environment)


def test_the_best_epochs_model_is_kept(longer: DevelopmentCases, tmp_path: Path) -> None:
    results = train(longer, tmp_path / "model")
    best = max(results, key=lambda result: result.validation_dice)
    model = load_model(tmp_path / "model", CPU)
    validation = model.description.validation
    assert validation.epoch == best.epoch
    assert validation.dice == best.validation_dice
    assert validation.dice_of_case == best.dice_of_case
    assert validation.loss == best.validation_losses.combined


def test_its_weights_are_those_of_the_best_epoch(longer: DevelopmentCases, tmp_path: Path) -> None:
    """Loaded and validated again, they give the Dice that the epoch gave."""
    train(longer, tmp_path / "model")
    model = load_model(tmp_path / "model", CPU)
    environment = longer.environment
    setup = TrainingSetup(
        data=environment.data,
        network=environment.network,
        training=environment.training,
        evaluation=environment.evaluation,
        hyperparameters=model.description.hyperparameters,
        seed=0,
        cases="",
    )
    training = Training(setup, *longer.datasets(list(longer.prepare())), CPU)
    training.network.load_state_dict(model.network.state_dict())
    assert training.validate().dice_of_case == model.description.validation.dice_of_case


def test_it_says_where_it_comes_from(tiny_cases: DevelopmentCases, tmp_path: Path) -> None:
    train(tiny_cases, tmp_path / "model", seed=11)
    description = load_model(tmp_path / "model", CPU).description
    provenance = description.provenance
    assert provenance.data == tiny_cases.split.data
    assert provenance.split == tiny_cases.split.fingerprint
    assert (provenance.seed, provenance.device) == (11, "cpu")
    assert provenance.study is None
    assert provenance.trial is None
    assert description.hyperparameters.learning_rate == 0.01
    assert description.preprocessing.folder is description.preprocessing.cache is None
    assert str(tiny_cases.environment.data.folder) not in (
        tmp_path / "model" / "model.json"
    ).read_text(encoding="utf-8")


def test_a_stopped_training_keeps_the_best_so_far(longer: DevelopmentCases, tmp_path: Path) -> None:
    prepared = list(longer.prepare())
    epochs = train_model(longer, prepared, Hyperparameters(), seed=0, out=tmp_path / "model")
    next(iter(epochs))
    del epochs
    model = load_model(tmp_path / "model", CPU)
    assert model.description.validation.epoch == 1


def test_pseudonyms_change_names_and_no_number(
    environment_in: Callable[[Path], Environment], tmp_path: Path
) -> None:
    """And nothing lies in its folder that a training without them has left there."""
    environment = environment_in(tmp_path / "runs")
    folders: list[Path] = []
    for pseudonyms in (False, True):
        common = environment.common.model_copy(update={"pseudonyms": pseudonyms})
        found = find_development_cases(environment.model_copy(update={"common": common}))
        train(found, tmp_path / f"model_{pseudonyms}")
        folders += set((tmp_path / "runs" / "trainings").iterdir()) - set(folders)
    assert len(folders) == 2
    named, hidden = (load_model(tmp_path / f"model_{one}", CPU) for one in (False, True))
    first, second = named.description, hidden.description
    assert first.weights_sha256 == second.weights_sha256
    assert list(first.validation.dice_of_case.values()) == list(
        second.validation.dice_of_case.values()
    )
    assert first.provenance.pseudonyms is None
    assert second.provenance.pseudonyms == found.names.key
    for folder, is_named in zip(folders, (True, False), strict=True):
        contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        assert any(b"case_0000" in content for content in contents) is is_named
