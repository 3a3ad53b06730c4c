"""What training promises on a GPU: repeatable where asked, never waited for, near the CPU's."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kidneyseg.training.augmentation import Augmentation
from kidneyseg.training.checkpoint import load_checkpoint, save_checkpoint
from kidneyseg.training.inputs import SliceInputs
from kidneyseg.training.results import EpochResult, EpochSums
from kidneyseg.training.trainer import Training

BuildTraining = Callable[..., Training]
GPU = "cuda:0"
EVERYTHING = {"augmentation": 0.5, "sampling": "balanced"}
PRECISIONS = pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])


@pytest.fixture(autouse=True)
def _gpu() -> Iterator[None]:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU that torch can use")
    yield
    torch.use_deterministic_algorithms(False)


def timeless(result: EpochResult) -> EpochResult:
    return replace(result, seconds=0.0, slices_per_second=0.0, memory_bytes=0)


def run(training: Training) -> tuple[list[EpochResult], dict[str, Tensor]]:
    results = [timeless(result) for result in training.epochs()]
    return results, training.network.state_dict()


@pytest.mark.gpu
@PRECISIONS
@pytest.mark.parametrize("recompute", [False, True])
def test_a_deterministic_training_gives_the_same_weights_bit_for_bit(
    build_training: BuildTraining, precision: str, *, recompute: bool
) -> None:
    settings = {"deterministic": True, "precision": precision, "recompute": recompute}
    (first, weights), (second, others) = (
        run(build_training(EVERYTHING, settings, seed=3, device=GPU)) for _ in range(2)
    )
    assert first == second
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name


@pytest.mark.gpu
def test_a_deterministic_training_is_resumed_bit_for_bit(
    build_training: BuildTraining, tmp_path: Path
) -> None:
    settings = {"deterministic": True, "max_epochs": 3, "patience": 9}
    expected, weights = run(build_training(EVERYTHING, settings, device=GPU))
    first = build_training(EVERYTHING, settings, device=GPU)
    next(first.epochs())
    save_checkpoint(tmp_path, first.checkpoint())
    second = build_training(EVERYTHING, settings, device=GPU)
    checkpoint = load_checkpoint(tmp_path, second.setup.fingerprint)
    assert checkpoint is not None
    second.resume(checkpoint)
    found, others = run(second)
    assert found == expected[1:]
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name


@pytest.mark.gpu
def test_it_is_near_the_cpus(build_training: BuildTraining) -> None:
    """After an epoch of steps from the same weights in the same order, dropout off."""
    there, here = (
        next(build_training({"dropout": 0.0}, device=device).epochs()) for device in (GPU, "cpu")
    )
    assert there.training_losses.combined == pytest.approx(here.training_losses.combined, rel=1e-3)
    assert there.validation_losses.combined == pytest.approx(
        here.validation_losses.combined, rel=1e-2
    )


@pytest.mark.gpu
@PRECISIONS
def test_the_host_never_waits_within_a_step(build_training: BuildTraining, precision: str) -> None:
    """The first step apart, in which libraries are set up."""
    training = build_training(EVERYTHING, {"precision": precision}, device=GPU)
    training.network.train()
    sums = EpochSums(training._slices.case_names, training.device)
    training._step(range(7), sums)
    torch.cuda.set_sync_debug_mode("error")
    try:
        training._step(range(7, 14), sums)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_its_memory_is_each_epochs_own(build_training: BuildTraining) -> None:
    training = build_training(device=GPU)
    ballast = torch.empty(2**28, dtype=torch.uint8, device=GPU)
    epochs = training.epochs()
    with_ballast = next(epochs).memory_bytes
    del ballast
    without = next(epochs).memory_bytes
    assert with_ballast > 2**28 > without > 0


@pytest.mark.gpu
def test_augmentation_makes_what_is_large_on_the_gpu_and_the_same_again() -> None:
    images = torch.rand(4, 1, 64, 64, device=GPU) * 2 - 1
    inputs = SliceInputs(images=images, labels=(images > 0).float(), inside=images > -2)
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        torch.cuda.set_sync_debug_mode("error")
        try:
            found.append(Augmentation(strength=1)(inputs))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(found[0].images, found[1].images)
    assert torch.equal(found[0].labels, found[1].labels)
    torch.manual_seed(0)
    here = Augmentation(strength=1)(
        SliceInputs(images=images.cpu(), labels=inputs.labels.cpu(), inside=inputs.inside.cpu())
    )
    assert (found[0].labels.cpu() - here.labels).abs().mean() < 1e-3
