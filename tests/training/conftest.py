"""Trainings of the smallest network on the tiny data."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from kidneyseg.ct.development import DevelopmentCases
from kidneyseg.ct.slices import SliceDataset
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.trainer import Training


@pytest.fixture
def build_training(
    tiny_cases: DevelopmentCases, tiny_slices: tuple[SliceDataset, SliceDataset]
) -> Callable[..., Training]:
    """Build a training with hyper-parameters, training settings, seed and device of one's own."""

    def build(
        hyperparameters: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
        seed: int = 0,
        device: str = "cpu",
    ) -> Training:
        environment = tiny_cases.environment
        setup = TrainingSetup(
            data=environment.data,
            network=environment.network,
            training=environment.training.model_copy(update=training or {}),
            evaluation=environment.evaluation,
            hyperparameters=Hyperparameters.model_validate(
                {"learning_rate": 0.01, "batch_size": 7, **(hyperparameters or {})}
            ),
            seed=seed,
            cases=tiny_cases.split.fingerprint,
        )
        there = torch.device(device)
        slices, validation = (each.resident(there) for each in tiny_slices)
        return Training(setup, slices, validation, there)

    return build
