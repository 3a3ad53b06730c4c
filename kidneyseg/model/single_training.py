"""One training outside a search, kept as a model folder."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from kidneyseg.ct.cache import PreparedCase
from kidneyseg.ct.development import DevelopmentCases
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.folder import describe_model, save_model
from kidneyseg.provenance import Provenance, code_fingerprint, host_name, library_versions
from kidneyseg.training.device import find_device
from kidneyseg.training.results import EpochResult
from kidneyseg.training.trainer import Training, TrainingSetup


def train_model(
    found: DevelopmentCases,
    prepared: Sequence[PreparedCase],
    hyperparameters: Hyperparameters,
    seed: int,
    out: Path,
) -> Iterator[EpochResult]:
    """Train, yield every epoch's result, and keep the best epoch's model in `out`."""
    environment = found.environment
    device = find_device(environment.common.device)
    setup = TrainingSetup(
        data=environment.data,
        network=environment.network,
        training=environment.training,
        evaluation=environment.evaluation,
        hyperparameters=hyperparameters,
        seed=seed,
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
    training = Training(setup, *found.datasets(prepared), device)
    with closing(training.epochs()) as epochs:
        for result in epochs:
            if result.is_best:
                save_model(out, training.network, describe_model(setup, result, provenance))
            yield result
