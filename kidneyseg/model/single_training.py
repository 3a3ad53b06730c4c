"""One training outside a search, kept as a model folder."""

from collections.abc import Generator, Sequence
from pathlib import Path

from kidneyseg.ct.development import DevelopmentCases
from kidneyseg.ct.fingerprints import digest
from kidneyseg.ct.prepared_cases import PreparedCase
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.description import copy_model
from kidneyseg.model.recording import Recording, forget, record, resume
from kidneyseg.provenance import Provenance, code_fingerprint, host_name, library_versions
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
    environment = found.environment
    setup = TrainingSetup(
        data=environment.data,
        network=environment.network,
        training=environment.training,
        evaluation=environment.evaluation,
        hyperparameters=hyperparameters,
        seed=seed,
        cases=digest((found.split.data, found.split.fingerprint)),
    )
    device = find_device(environment.common.device)
    training_slices, validation_slices = found.datasets(prepared)
    training = Training(
        setup, training_slices.resident(device), validation_slices.resident(device), device
    )
    folder = Runs(environment.common.runs).training(setup.fingerprint)
    recording = Recording(
        model=folder / "model",
        tensorboard=folder / "tensorboard",
        checkpoints=folder / "checkpoints",
        pictures=environment.common.pictures,
    )
    provenance = Provenance(
        data=found.split.data,
        split=found.split.fingerprint,
        code=code_fingerprint(),
        versions=library_versions(),
        seed=seed,
        device=str(device),
        host=host_name(),
    )
    resume(training, recording)
    try:
        yield from record(training, recording, provenance)
    finally:
        if recording.model.is_dir():
            copy_model(recording.model, out)
    forget(recording)
