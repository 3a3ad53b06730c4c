"""A small model, as training would leave it: batch norm has seen data, weights are random."""

import math

import pytest
import torch

from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.description import ModelDescription, Validation
from kidneyseg.model.folder import Model
from kidneyseg.network import build_quicknat, channels_last
from kidneyseg.provenance import Provenance
from kidneyseg.settings import DataSettings, NetworkSettings

CPU = torch.device("cpu")


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Model:
    """Give a model whose masks hold both classes; a parameter replaces network settings."""
    changes = getattr(request, "param", {})
    settings = NetworkSettings.model_validate({"filters": 4, "kernel_size": 3, **changes})
    torch.manual_seed(0)
    network = channels_last(build_quicknat(settings, dropout=0.2), CPU)
    with torch.no_grad():
        for _ in range(6):
            network(torch.randn(4, settings.input_slices, 32, 32))
        network.classifier.weight.mul_(20)
        logits = network.eval()(torch.randn(4, settings.input_slices, 32, 32))
        network.classifier.get_parameter("bias").sub_(logits.median())
    description = ModelDescription(
        format=1,
        network=settings,
        preprocessing=DataSettings(downsampling=2, slice_size=(32, 48)),
        threshold=0.5,
        hyperparameters=Hyperparameters(learning_rate=math.pi / 1000),
        validation=Validation(
            epoch=3,
            dice=0.875,
            dice_of_case={"case_00003": 0.75, "case_00007": 1.0},
            loss=0.25,
            small_batch_size=4,
        ),
        provenance=Provenance(
            data="d" * 64,
            split="e" * 64,
            code="f" * 64,
            versions={"torch": "2.10"},
            seed=17,
            device="cpu",
            host="somewhere",
            study="lr_loss",
            trial=12,
        ),
        weights_sha256="",
    )
    return Model(network=network.eval(), description=description, device=CPU)
