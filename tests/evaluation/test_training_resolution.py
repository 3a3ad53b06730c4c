"""The report's own way: the very number that training gave."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kidneyseg.ct.cases import list_cases, read_case
from kidneyseg.ct.development import find_development_cases
from kidneyseg.evaluation.training_resolution import training_dice
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.folder import load_model
from kidneyseg.model.single_training import train_model
from kidneyseg.settings import Environment


@pytest.mark.parametrize("changes", [{}, {"input_slices": 3, "output_channels": 2}])
def test_it_is_the_validation_dice_of_the_training(
    environment_in: Callable[[Path], Environment], tmp_path: Path, changes: dict[str, int]
) -> None:
    environment = environment_in(tmp_path / "runs")
    network = environment.network.model_copy(update=changes)
    training = environment.training.model_copy(update={"max_epochs": 4, "patience": 4})
    environment = environment.model_copy(update={"network": network, "training": training})
    found = find_development_cases(environment)
    hyperparameters = Hyperparameters(batch_size=4, learning_rate=0.01)
    list(train_model(found, list(found.prepare()), hyperparameters, 0, tmp_path / "model"))
    model = load_model(tmp_path / "model", torch.device("cpu"))
    cases = {case.name: case for case in list_cases(found.environment.data.folder or Path())}
    for name, dice in model.description.validation.dice_of_case.items():
        assert 0 < dice < 1
        volumes = read_case(cases[name], environment.data.kidney_labels)
        assert training_dice(model, volumes) == pytest.approx(dice, abs=2e-3)
