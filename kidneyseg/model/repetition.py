"""A training done again as a model folder describes it, and whether the same weights come out."""

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from kidneyseg.ct.development import DevelopmentCases
from kidneyseg.ct.prepared_cases import PreparedCase
from kidneyseg.ct.shown_names import adopt_pseudonyms
from kidneyseg.errors import DataError, ModelError
from kidneyseg.model.description import ModelDescription
from kidneyseg.model.single_training import set_up, train_in
from kidneyseg.provenance import Provenance
from kidneyseg.runs import Runs
from kidneyseg.settings import MACHINE_PATHS, Environment
from kidneyseg.training.device import on_threads
from kidneyseg.training.results import EpochResult

MACHINE = ("device", "gpu", "processor", "threads")  # of provenance: what last bits depend on


def repeated_environment(described: ModelDescription, here: Environment) -> Environment:
    """The environment of the model's training, with this machine's paths and device.

    Where memory had run out, with as many slices at a time as were left; with pseudonyms where the
    model has them. Raises ModelError for a model.json that does not hold the training's settings,
    SettingsError without the key of its pseudonyms.
    """
    if described.training is None or described.evaluation is None:
        raise ModelError(
            "model.json does not hold the settings of its training; expected a model folder that "
            "this version or a later one has made"
        )
    here = adopt_pseudonyms(here, described.provenance.pseudonyms, "the model")
    paths = {name: getattr(here.data, name) for name in MACHINE_PATHS}
    validation = described.validation
    small_batch = {"small_batch_size": validation.small_batch_size}
    at_once = {"batch_size": validation.evaluation_batch_size or described.evaluation.batch_size}
    return Environment(
        data=described.preprocessing.model_copy(update=paths),
        network=described.network,
        training=described.training.model_copy(update=small_batch),
        evaluation=described.evaluation.model_copy(update=at_once),
        common=here.common,
    )


def check_same_cases(found: DevelopmentCases, described: ModelDescription) -> None:
    """Refuse other scans or another split than the model's. Raises DataError that says which."""
    provenance = described.provenance
    _check_same("data set", found.split.data, provenance.data, "the same scans and labels")
    mended = "the model's data.splits_file, if it had one"
    _check_same("split", found.split.fingerprint, provenance.split, mended)


def repeat_model(
    found: DevelopmentCases,
    prepared: Sequence[PreparedCase],
    described: ModelDescription,
    out: Path,
) -> Generator[EpochResult, None, None]:
    """Train from the start up to the epoch whose weights the model folder holds, and yield each
    epoch's result; at the end, or where it is stopped, write the best epoch's model to `out`.

    `found` holds the cases of `repeated_environment`. The processor's threads are those recorded.
    """
    setup = set_up(found, described.hyperparameters, described.provenance.seed)
    trainings = Runs(found.environment.common.runs).training(setup.fingerprint).parent
    trainings.mkdir(parents=True, exist_ok=True)
    with (
        on_threads(described.provenance.threads),
        # Not the folder of the training itself: its checkpoints would spare it the epochs.
        TemporaryDirectory(prefix="repeated-", dir=trainings) as folder,
        closing(train_in(Path(folder), found, prepared, setup, out)) as epochs,
    ):
        for result in epochs:
            yield result
            if result.epoch == described.validation.epoch:
                break


def differences(described: Provenance, repeated: Provenance) -> list[str]:
    """What was not the same for two trainings that may change the last bits of their weights."""
    compared = {name: (getattr(described, name), getattr(repeated, name)) for name in MACHINE}
    for name in described.versions.keys() | repeated.versions.keys():
        compared[name] = (described.versions.get(name), repeated.versions.get(name))
    told = [f"{k} {b or '?'} instead of {a or '?'}" for k, (a, b) in compared.items() if a != b]
    return sorted(told) + ["another code of kidneyseg"] * (described.code != repeated.code)


def _check_same(what: str, here: str, there: str, mended: str) -> None:
    if here != there:
        raise DataError(
            f"{what} {here[:16]}: the model was trained on {there[:16]}; expected {mended}"
        )
