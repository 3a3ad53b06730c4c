"""One training outside a search, kept as a model folder."""

from collections.abc import Generator, Sequence
from pathlib import Path

import torch

from kidneyseg.ct.development import DevelopmentCases
from kidneyseg.ct.fingerprints import digest
from kidneyseg.ct.prepared_cases import PreparedCase
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.folder import copy_model
from kidneyseg.model.recording import Recording, forget, record, resume
from kidneyseg.runs import Runs
from kidneyseg.training.device import find_device
from kidneyseg.training.results import EpochResult
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.trainer import Training


def train_model(
    found: DevelopmentCases,
    prepared: Sequence[PreparedCase],
    hyperparameters: Hyperparameters,
    seed: int,
    out: Path,
) -> Generator[EpochResult, None, None]:
    """Train, yield every epoch's result, and at the end, or where it is stopped, write the best
    epoch's model to `out`.

    A training of the same data, settings, hyper-parameters and seed that was interrupted goes on
    from its last finished epoch. One that was finished is done anew.
    """
    setup = set_up(found, hyperparameters, seed)
    # A folder of its own for each key of pseudonyms: no name is left from a training without.
    key = found.names.key
    place = digest((setup.fingerprint, key)) if key else setup.fingerprint
    folder = Runs(found.environment.common.runs).training(place)
    yield from train_in(folder, found, prepared, setup, out)


def set_up(found: DevelopmentCases, hyperparameters: Hyperparameters, seed: int) -> TrainingSetup:
    """All that decides the training of these cases, as their environment says."""
    environment = found.environment
    return TrainingSetup(
        data=environment.data,
        network=environment.network,
        training=environment.training,
        evaluation=environment.evaluation,
        hyperparameters=hyperparameters,
        seed=seed,
        cases=digest((found.split.data, found.split.fingerprint)),
    )


def train_in(
    folder: Path,
    found: DevelopmentCases,
    prepared: Sequence[PreparedCase],
    setup: TrainingSetup,
    out: Path,
) -> Generator[EpochResult, None, None]:
    """Train with checkpoints and log in `folder`, going on from those that lie there."""
    common = found.environment.common
    device = find_device(common.device)
    training_slices, validation_slices = found.datasets(prepared)
    training = Training(
        setup, training_slices.resident(device), validation_slices.resident(device), device
    )
    recording = Recording(
        model=folder / "model",
        tensorboard=folder / "tensorboard",
        checkpoints=folder / "checkpoints",
        pictures=folder / "pictures" if common.pictures else None,
    )
    provenance = found.provenance(
        seed=setup.seed, device=str(device), threads=torch.get_num_threads()
    )
    resume(training, recording)
    try:
        yield from record(training, recording, provenance)
    finally:
        if recording.model.is_dir():
            copy_model(recording.model, out)
    forget(recording)
