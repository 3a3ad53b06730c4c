"""Training: repeatable, accumulation exact, ended as promised, its numbers those of the network."""

import math
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from kidneyseg.ct.slices import SliceDataset, image_input
from kidneyseg.errors import SettingsError, TrainingError
from kidneyseg.training import trainer
from kidneyseg.training.inputs import SliceInputs
from kidneyseg.training.loss import SliceLosses, slice_losses
from kidneyseg.training.pixel_weights import PixelWeighting
from kidneyseg.training.results import EpochResult, EpochSums, MeanLosses
from kidneyseg.training.sampling import epoch_order
from kidneyseg.training.trainer import Training

BuildTraining = Callable[..., Training]
Slices = tuple[SliceDataset, SliceDataset]


def with_forward(
    forward: Callable[[SliceInputs], tuple[Tensor, SliceLosses]],
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let the training's slices go another way forward."""
    for name in ("inputs", "weighted"):
        monkeypatch.setattr(forward, name, getattr(training._forward, name), raising=False)
    monkeypatch.setattr(forward, "logits", lambda inputs: forward(inputs)[0], raising=False)
    monkeypatch.setattr(training, "_forward", forward)


def weights_of(training: Training) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in training.network.state_dict().items()}


def run(training: Training) -> list[EpochResult]:
    return list(training.epochs())


def without_times(results: Iterable[EpochResult]) -> list[EpochResult]:
    return [
        replace(result, seconds=0.0, slices_per_second=0.0, memory_bytes=0) for result in results
    ]


def with_validation_losses(
    training: Training, losses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the training see these validation losses, and a Dice of 1 - loss."""
    found = (
        SimpleNamespace(
            losses=MeanLosses(combined=loss, dice=loss, cross_entropy=loss),
            dice=1 - loss,
            dice_of_case={"case_00000": 1 - loss},
        )
        for loss in losses
    )
    monkeypatch.setattr(training, "validate", lambda: next(found))
    monkeypatch.setattr(training, "_step", lambda indices, sums: torch.tensor(True))
    monkeypatch.setattr(training._optimizer, "end_epoch", lambda: None)
    monkeypatch.setattr(EpochSums, "losses", MeanLosses(combined=0.5, dice=0.5, cross_entropy=0.5))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_numbers_bit_for_bit(
    build_training: BuildTraining, precision: str
) -> None:
    first, second = (build_training(None, {"precision": precision}, seed=3) for _ in range(2))
    assert without_times(run(first)) == without_times(run(second))
    theirs = weights_of(second)
    for name, value in weights_of(first).items():
        assert torch.equal(value, theirs[name]), name


def test_another_seed_gives_other_numbers(build_training: BuildTraining) -> None:
    one, other = (run(build_training(seed=seed))[0] for seed in (3, 4))
    assert one.training_losses != other.training_losses
    assert one.validation_losses != other.validation_losses


def test_numbers_do_not_depend_on_what_drew_random_numbers_before(
    build_training: BuildTraining,
) -> None:
    undisturbed = run(build_training())
    disturbed = []
    for result in build_training().epochs():
        torch.rand(17)
        disturbed.append(result)
    assert without_times(disturbed) == without_times(undisturbed)


def epoch_in_float64(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Tensor], MeanLosses]:
    """Weights and losses after one epoch in float64, batch norm and dropout frozen."""
    training.network.double().eval()
    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)
        patch.setattr(training.network, "train", lambda: None)
        sums, _ = training._train_epoch(1)
    return weights_of(training), sums.losses


@pytest.mark.parametrize("small_batch_size", [1, 2, 3, 5])
def test_accumulation_equals_the_large_batch(
    build_training: BuildTraining,
    tiny_slices: Slices,
    small_batch_size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over a whole epoch of Adam steps, the last and partial batch included."""
    assert len(tiny_slices[0]) % 7 != 0
    whole = build_training(training={"small_batch_size": 7})
    cut = build_training(training={"small_batch_size": small_batch_size})
    before = weights_of(whole)
    expected, losses = epoch_in_float64(whole, monkeypatch)
    found, found_losses = epoch_in_float64(cut, monkeypatch)
    moved = max((expected[name] - before[name]).abs().max().item() for name in expected)
    assert moved > 0.01
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6)
    assert found_losses.combined == pytest.approx(losses.combined, abs=1e-9)


def test_a_step_follows_the_mean_gradient_of_its_slices(
    build_training: BuildTraining, tiny_slices: Slices
) -> None:
    """Against the gradient of the mean loss, written down here from the parts."""
    training = build_training(training={"small_batch_size": 2})
    indices = [0, 5, 9, 13, 20]
    setup, hyperparameters = training.setup, training.setup.hyperparameters
    batch = tiny_slices[0].batch(indices)
    labels = batch.soft_labels()
    weighting = PixelWeighting(
        kidney_fraction=tiny_slices[0].kidney_fraction,
        border_weight=hyperparameters.border_weight,
        border_sigma_px=hyperparameters.border_sigma_px,
    )
    training.network.eval()
    losses = slice_losses(
        training.network(image_input(batch.images, setup.data.hu_window)),
        labels,
        weighting(labels, batch.inside.unsqueeze(1)),
        alpha=hyperparameters.alpha,
        beta=hyperparameters.beta,
    )
    parameters = list(training.network.parameters())
    expected = torch.autograd.grad(losses.combined.mean(), parameters)
    training._step(indices, EpochSums(tiny_slices[0].case_names, training.device))
    for parameter, gradient in zip(parameters, expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("n_slices", "times"), [(7, 1), (20, 3)])
def test_a_batch_is_augmented_and_weighed_at_once_however_it_is_cut(
    build_training: BuildTraining,
    monkeypatch: pytest.MonkeyPatch,
    n_slices: int,
    times: int,
) -> None:
    """Up to so many slices, that a huge batch takes no more memory than a large one."""
    training = build_training({"augmentation": 0.5}, {"small_batch_size": 2})
    sizes: list[int] = []
    original = PixelWeighting.__call__

    def spy(self: PixelWeighting, labels: Tensor, inside: Tensor) -> Tensor:
        sizes.append(len(labels))
        return original(self, labels, inside)

    monkeypatch.setattr(PixelWeighting, "__call__", spy)
    monkeypatch.setattr(trainer, "PREPARED_AT_ONCE", 8)
    sums = EpochSums(training._slices.case_names, training.device)
    training._step(range(n_slices), sums)
    assert len(sizes) == times
    assert sum(sizes) == sums._n_slices == n_slices


def test_every_slice_is_trained_once_per_epoch_in_another_order_each_time(
    build_training: BuildTraining, tiny_slices: Slices, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = build_training()
    steps: list[list[int]] = []
    original = training._step

    def spy(indices: list[int], sums: EpochSums) -> Tensor:
        steps.append(indices)
        return original(indices, sums)

    monkeypatch.setattr(training, "_step", spy)
    run(training)
    n = len(tiny_slices[0])
    seen = [index for step in steps for index in step]
    assert sorted(seen[:n]) == sorted(seen[n:]) == list(range(n))
    assert seen[:n] != seen[n:]
    assert all(len(step) == 7 for step in steps[: n // 7])


def test_learning_rate_is_halved_after_every_step_size_epochs(
    build_training: BuildTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = build_training(
        {"learning_rate": 0.01, "step_size": 2, "gamma": 0.5},
        {"max_epochs": 5, "patience": 9},
    )
    used: list[float] = []
    original = training._step

    def spy(indices: list[int], sums: EpochSums) -> Tensor:
        used.append(training._optimizer._adam.param_groups[0]["lr"])
        return original(indices, sums)

    monkeypatch.setattr(training, "_step", spy)
    told = [result.learning_rate for result in training.epochs()]
    assert told == [0.01 * 0.5 ** (epoch // 2) for epoch in range(5)]
    n_steps = len(used) // 5
    assert used == [rate for rate in told for _ in range(n_steps)]


def test_max_epochs_ends_it(build_training: BuildTraining) -> None:
    results = run(build_training(training={"max_epochs": 3, "patience": 9}))
    assert [result.epoch for result in results] == [1, 2, 3]
    assert [result.is_last for result in results] == [False, False, True]


def test_patience_ends_it_at_the_second_rise_in_a_row(
    build_training: BuildTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report's run: losses rise at epochs 5 and 6."""
    training = build_training(training={"max_epochs": 50, "patience": 2})
    losses = [0.9, 0.7, 0.5, 0.4, 0.45, 0.46, 0.1]
    with_validation_losses(training, losses, monkeypatch)
    results = run(training)
    assert [result.loss_rises for result in results] == [0, 0, 0, 0, 1, 2]
    assert [result.is_last for result in results] == [False] * 5 + [True]


def test_best_is_the_highest_dice_so_far_and_the_first_of_equals(
    build_training: BuildTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = build_training(training={"max_epochs": 6, "patience": 9})
    with_validation_losses(training, [0.9, 0.5, 0.5, 0.6, 0.4, 0.8], monkeypatch)
    assert [result.is_best for result in run(training)] == [True, True, False, False, True, False]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_validation_loss_that_is_no_number_ends_in_an_error(
    build_training: BuildTraining, loss: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = build_training({"learning_rate": 0.25})
    with_validation_losses(training, [0.5, loss], monkeypatch)
    epochs = training.epochs()
    assert next(epochs).epoch == 1
    with pytest.raises(TrainingError, match=r"validation loss is (nan|inf) in epoch 2.* 0\.25"):
        next(epochs)


def test_weights_that_are_no_numbers_end_in_an_error(build_training: BuildTraining) -> None:
    training = build_training({"learning_rate": 0.25})
    torch.nn.init.constant_(training.network.classifier.weight, math.nan)
    with pytest.raises(TrainingError, match=r"steps of epoch 1 .*not finite.* than 0\.25"):
        next(training.epochs())


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(
    build_training: BuildTraining, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither weights, nor moments, nor batch norm, nor the epoch's losses."""
    training = build_training()
    forward = training._forward
    calls: list[int] = []

    def once_wrong(inputs: SliceInputs) -> tuple[Tensor, SliceLosses]:
        calls.append(len(calls))
        if calls[-1] == 2:
            images = torch.full_like(inputs.images, wrong)
            inputs = replace(inputs, images=images)
        return forward(inputs)

    step = training._step
    states = []

    def spy(indices: list[int], sums: EpochSums) -> Tensor:
        taken = step(indices, sums)
        moments = {name: value.clone() for name, value in training._optimizer.tensors().items()}
        states.append((bool(taken), weights_of(training), moments))
        return taken

    with_forward(once_wrong, training, monkeypatch)
    monkeypatch.setattr(training, "_step", spy)
    result = next(training.epochs())
    assert result.skipped_steps == 1
    assert math.isfinite(result.training_losses.combined)
    (skipped,) = [number for number, state in enumerate(states) if not state[0]]
    for kept, before in zip(states[skipped][1:], states[skipped - 1][1:], strict=True):
        for name, value in kept.items():
            assert torch.equal(value, before[name]), name
    assert not torch.equal(
        states[skipped + 1][1]["classifier.weight"], states[skipped][1]["classifier.weight"]
    )


def out_of_memory_above(
    n: int, training: Training, monkeypatch: pytest.MonkeyPatch, *, validating: bool = False
) -> list[int]:
    """Let the network run out of memory above n slices at once, in training or in validation.

    Return the sizes that it saw there.
    """
    forward, sizes = training._forward, list[int]()

    def limited(inputs: SliceInputs) -> tuple[Tensor, SliceLosses]:
        there = torch.is_grad_enabled() != validating
        sizes.extend([len(inputs.images)] * there)
        found = forward(inputs)
        if there and len(inputs.images) > n:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return found

    with_forward(limited, training, monkeypatch)
    return sizes


def test_out_of_memory_halves_the_small_batch_and_goes_on(
    build_training: BuildTraining, tiny_slices: Slices, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = build_training(training={"small_batch_size": 7})
    sizes = out_of_memory_above(2, training, monkeypatch)
    result = next(training.epochs())
    assert result.small_batch_size == training.checkpoint().progress.small_batch_size == 1
    assert sizes[:3] == [7, 3, 1]
    assert result.skipped_steps == 0
    assert training._optimizer.tensors()["0.step"] == math.ceil(len(tiny_slices[0]) / 7)


def test_tf32_is_refused_on_a_processor_before_anything_is_trained(
    build_training: BuildTraining,
) -> None:
    with pytest.raises(SettingsError, match="'tf32' on cpu"):
        build_training(training={"precision": "tf32"})


@pytest.mark.parametrize("augmentation", [0.0, 0.5])
def test_a_halved_training_is_that_of_the_smaller_batch_bit_for_bit(
    build_training: BuildTraining, monkeypatch: pytest.MonkeyPatch, augmentation: float
) -> None:
    """Batch norm, dropout and augmentation know nothing of the tries that failed."""
    halved = build_training({"augmentation": augmentation}, {"small_batch_size": 6})
    out_of_memory_above(3, halved, monkeypatch)
    small = build_training({"augmentation": augmentation}, {"small_batch_size": 3})
    assert without_times(run(halved)) == without_times(run(small))
    theirs = weights_of(small)
    for name, value in weights_of(halved).items():
        assert torch.equal(value, theirs[name]), name


def test_out_of_memory_in_validation_halves_the_evaluation_batch(
    build_training: BuildTraining, tiny_slices: Slices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun anew, each slice counts once; the training's batch stays as it is."""
    n = len(tiny_slices[1])
    assert 5 <= n < 16
    training, undisturbed = build_training(), next(build_training().epochs())
    sizes = out_of_memory_above(4, training, monkeypatch, validating=True)
    result = next(training.epochs())
    assert sizes == [n, n, 4] + [4] * (n // 4 - 1) + [n % 4] * (n % 4 > 0)
    assert result.evaluation_batch_size == 4
    assert result.small_batch_size == undisturbed.small_batch_size
    assert result.dice_of_case == undisturbed.dice_of_case
    assert result.validation_losses.combined == pytest.approx(
        undisturbed.validation_losses.combined, rel=1e-5
    )


def test_out_of_memory_in_pictures_halves_the_evaluation_batch(
    build_training: BuildTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = build_training()
    expected = training.pictures()
    training._validation, training._chosen = training._slices, {}
    sizes = out_of_memory_above(2, training, monkeypatch, validating=True)
    assert len(training.pictures()) == 3
    assert sizes[-2:] == [2, 1]
    assert expected


@pytest.mark.parametrize("validating", [False, True])
def test_one_slice_too_many_for_memory_ends_in_an_error(
    build_training: BuildTraining, monkeypatch: pytest.MonkeyPatch, *, validating: bool
) -> None:
    training = build_training()
    out_of_memory_above(0, training, monkeypatch, validating=validating)
    with pytest.raises(TrainingError, match=r"one slice is too much for the memory of cpu: CUDA"):
        next(training.epochs())


def test_an_epoch_tells_the_most_memory_taken(build_training: BuildTraining) -> None:
    """On the CPU what the kernel counts as the process's largest resident set."""
    result = next(build_training().epochs())
    said = Path("/proc/self/status").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    largest = re.search(r"VmHWM:\s+(\d+) kB", said)
    if largest is None:
        pytest.skip("the kernel's own count is read from /proc, which Linux alone has")
    assert result.memory_bytes == pytest.approx(1024 * int(largest[1]), rel=0.1)


def test_balanced_sampling_draws_every_volume_alike(tiny_slices: Slices) -> None:
    """Three volumes, ten times over: each within four standard deviations of a third."""
    slices = tiny_slices[0]
    torch.manual_seed(0)
    drawn = torch.tensor([epoch_order(slices, "balanced") for _ in range(100)]).flatten()
    shares = torch.bincount(slices.volumes[drawn]) / len(drawn)
    deviation = math.sqrt(2 / 9 / len(drawn))
    assert (shares - 1 / 3).abs().max() < 4 * deviation
    assert len(epoch_order(slices, "balanced")) == len(slices)


def test_a_training_learns_the_tiny_data(build_training: BuildTraining) -> None:
    results = run(build_training(training={"max_epochs": 6, "patience": 9}))
    assert results[-1].training_losses.combined < 0.8 * results[0].training_losses.combined
    assert max(result.validation_dice for result in results) > 0.5


def test_validation_dice_is_that_of_the_networks_masks(
    build_training: BuildTraining, tiny_slices: Slices
) -> None:
    """Slice by slice, by hand."""
    training = build_training(training={"max_epochs": 4, "patience": 9})
    result = run(training)[-1]
    validation = tiny_slices[1]
    shared = both = 0
    for index in range(len(validation)):
        slice_ = validation[index]
        x = image_input(slice_.images, training.setup.data.hu_window)
        with torch.no_grad():
            mask = (torch.sigmoid(training.network.eval()(x)) > 0.5)[0, 0] & slice_.inside[0]
        truth = (slice_.labels[0] >= 72) & slice_.inside[0]
        shared += int((mask & truth).sum())
        both += int(mask.sum() + truth.sum())
    assert 0 < shared < both
    assert result.validation_dice == pytest.approx(2 * shared / both, abs=1e-12)
    assert result.dice_of_case == {validation.case_names[0]: result.validation_dice}


def test_dice_is_averaged_over_volumes_and_not_over_pixels(
    build_training: BuildTraining, tiny_slices: Slices
) -> None:
    training = build_training()
    sums, _ = training._train_epoch(1)
    assert set(sums.dice_of_case) == set(tiny_slices[0].case_names)
    assert len(set(sums.dice_of_case.values())) == 3
    assert sums.dice == pytest.approx(np.mean(list(sums.dice_of_case.values())))


def test_validation_changes_neither_weights_nor_batch_norm(build_training: BuildTraining) -> None:
    training = build_training()
    before = weights_of(training)
    training.validate()
    for name, value in weights_of(training).items():
        assert torch.equal(value, before[name]), name


def test_validation_does_not_depend_on_its_batch_size(build_training: BuildTraining) -> None:
    training = build_training()
    next(training.epochs())
    expected = training.validate()
    training._validated_at_once.n = 3
    found = training.validate()
    assert found.losses.combined == pytest.approx(expected.losses.combined, rel=1e-5)
    assert found.dice_of_case == expected.dice_of_case


def refuse_to_weigh(weighting: PixelWeighting, labels: Tensor, inside: Tensor) -> Tensor:
    raise AssertionError


def test_validation_weighs_its_slices_once_for_all_epochs(
    build_training: BuildTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = build_training()
    expected = training.validate()
    monkeypatch.setattr(PixelWeighting, "__call__", refuse_to_weigh)
    assert training.validate().losses == expected.losses


def test_pictures_need_no_weights(
    build_training: BuildTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PixelWeighting, "__call__", refuse_to_weigh)
    assert build_training().pictures()


def test_a_training_in_bfloat16_runs_and_is_near_that_in_float32(
    build_training: BuildTraining,
) -> None:
    exact = next(build_training().epochs())
    coarse = next(build_training(training={"precision": "bfloat16"}).epochs())
    assert coarse.training_losses != exact.training_losses
    assert coarse.training_losses.combined == pytest.approx(
        exact.training_losses.combined, rel=0.05
    )
