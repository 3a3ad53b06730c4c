"""Killed at any moment and resumed, a training ends as if nothing had happened."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kidneyseg.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from kidneyseg.training.results import EpochResult
from kidneyseg.training.trainer import Training

BuildTraining = Callable[..., Training]
LONG = {"max_epochs": 5, "patience": 9}
VARIED = {"step_size": 2, "gamma": 0.5, "augmentation": 0.5, "sampling": "balanced"}


def timeless(result: EpochResult) -> EpochResult:
    return replace(result, seconds=0.0, slices_per_second=0.0, memory_bytes=0)


@pytest.mark.parametrize("killed_after", [1, 3, 4])
@pytest.mark.parametrize("hyperparameters", [{}, VARIED], ids=["plain", "varied"])
def test_a_resumed_training_is_that_which_was_never_interrupted(
    build_training: BuildTraining,
    tmp_path: Path,
    killed_after: int,
    hyperparameters: dict[str, object],
) -> None:
    """Curve and final weights, bit for bit."""
    whole = build_training(hyperparameters, LONG)
    expected = [timeless(result) for result in whole.epochs()]

    first = build_training(hyperparameters, LONG)
    for result in first.epochs():
        save_checkpoint(tmp_path, first.checkpoint())
        if result.epoch == killed_after:
            break
    torch.rand(100)  # whatever happens in between
    second = build_training(hyperparameters, LONG)
    checkpoint = load_checkpoint(tmp_path, second.setup.fingerprint)
    assert checkpoint is not None
    assert checkpoint.progress.epoch == killed_after
    assert list(checkpoint.progress.history) == [r.validation_dice for r in expected[:killed_after]]
    second.resume(checkpoint)
    found = [timeless(result) for result in second.epochs()]
    assert found == expected[killed_after:]
    theirs = whole.network.state_dict()
    for name, value in second.network.state_dict().items():
        assert torch.equal(value, theirs[name]), name


def test_it_goes_on_with_as_many_slices_at_a_time_as_memory_left(
    build_training: BuildTraining, tmp_path: Path
) -> None:
    training = build_training(training=LONG)
    epochs = training.epochs()
    next(epochs)
    training._trained_at_once.n, training._validated_at_once.n = 2, 3
    save_checkpoint(tmp_path, training.checkpoint())
    expected = timeless(next(epochs))
    assert (expected.small_batch_size, expected.evaluation_batch_size) == (2, 3)
    again = build_training(training=LONG)
    checkpoint = load_checkpoint(tmp_path, again.setup.fingerprint)
    assert checkpoint is not None
    again.resume(checkpoint)
    assert timeless(next(again.epochs())) == expected


def test_a_checkpoint_of_before_that_was_kept_is_gone_on_from(
    build_training: BuildTraining,
) -> None:
    training = build_training(training=LONG)
    next(training.epochs())
    written = training.checkpoint()
    older = written.progress.model_dump(exclude={"evaluation_batch_size"})
    again = build_training(training=LONG)
    again.resume(replace(written, progress=Progress.model_validate(older)))
    assert next(again.epochs()).evaluation_batch_size == again.setup.evaluation.batch_size


def test_a_finished_training_resumes_to_nothing(
    build_training: BuildTraining, tmp_path: Path
) -> None:
    training = build_training()
    for _ in training.epochs():
        save_checkpoint(tmp_path, training.checkpoint())
    again = build_training()
    checkpoint = load_checkpoint(tmp_path, again.setup.fingerprint)
    assert checkpoint is not None
    again.resume(checkpoint)
    assert list(again.epochs()) == []


@pytest.fixture
def two_epochs(build_training: BuildTraining, tmp_path: Path) -> tuple[Training, list[Path]]:
    """A training of two epochs and its checkpoints."""
    training = build_training()
    paths = [save_checkpoint(tmp_path, training.checkpoint()) for _ in training.epochs()]
    return training, paths


def newest_epoch(folder: Path, training: Training) -> int | None:
    checkpoint = load_checkpoint(folder, training.setup.fingerprint)
    return None if checkpoint is None else checkpoint.progress.epoch


def test_a_cut_checkpoint_is_passed_over_for_the_one_before(
    two_epochs: tuple[Training, list[Path]], tmp_path: Path
) -> None:
    training, (_, newest) = two_epochs
    assert newest_epoch(tmp_path, training) == 2
    whole = newest.read_bytes()
    for length in (0, 7, len(whole) // 2, len(whole) - 1):
        newest.write_bytes(whole[:length])
        assert newest_epoch(tmp_path, training) == 1


def test_any_flipped_bit_is_noticed(
    two_epochs: tuple[Training, list[Path]], tmp_path: Path
) -> None:
    training, (_, newest) = two_epochs
    whole = bytearray(newest.read_bytes())
    for place in range(3, len(whole), len(whole) // 40):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        newest.write_bytes(flipped)
        assert newest_epoch(tmp_path, training) == 1


def test_half_written_files_are_never_read(
    two_epochs: tuple[Training, list[Path]], tmp_path: Path
) -> None:
    training, _ = two_epochs
    (tmp_path / "epoch_00003.partial").write_bytes(b"half")
    (tmp_path / ".epoch_00003.partial.1.tmp").write_bytes(b"half")
    assert newest_epoch(tmp_path, training) == 2


def test_only_the_two_newest_are_kept(build_training: BuildTraining, tmp_path: Path) -> None:
    training = build_training(training=LONG)
    for _ in training.epochs():
        save_checkpoint(tmp_path, training.checkpoint())
    assert [path.name[:11] for path in sorted(tmp_path.iterdir())] == ["epoch_00004", "epoch_00005"]


def test_another_training_does_not_go_on_from_it(
    build_training: BuildTraining, two_epochs: tuple[Training, list[Path]], tmp_path: Path
) -> None:
    other = build_training({"learning_rate": 0.02})
    assert newest_epoch(tmp_path, other) is None
    assert newest_epoch(tmp_path, build_training(seed=1)) is None


def test_a_folder_without_checkpoints_has_none(
    build_training: BuildTraining, tmp_path: Path
) -> None:
    assert newest_epoch(tmp_path / "nothing", build_training()) is None
