"""`model.json`: what a network is, how scans must come to it, and where it comes from."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from kidneyseg.errors import ModelError
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.looks import LEDGER
from kidneyseg.provenance import Provenance
from kidneyseg.settings import (
    DataSettings,
    EvaluationSettings,
    NetworkSettings,
    Part,
    TrainingSettings,
)
from kidneyseg.toml_files import describe

FORMAT: Literal[1] = 1
MODEL_FILES = ("model.safetensors", "model.json", "README.md")


class Validation(Part):
    """Measures on the validation cases: kept slices, training resolution."""

    epoch: int  # the best one, from 1
    dice: float  # per volume, averaged over the volumes
    dice_of_case: dict[str, float]
    loss: float  # combined, averaged over the slices
    small_batch_size: int  # slices at a time; less than was asked for where memory ran out
    evaluation_batch_size: int | None = None  # the same in validation; older files lack it


class Refit(Part):
    """A network trained on training and validation cases; its measures come from elsewhere."""

    study: str  # that confirmed its hyper-parameters
    n_seeds: int  # trainings whose average the measures are


class ModelDescription(Part):
    """All about a model but its weights."""

    format: Literal[1]
    network: NetworkSettings
    preprocessing: DataSettings  # without a machine's paths
    threshold: float
    hyperparameters: Hyperparameters
    validation: Validation
    provenance: Provenance
    training: TrainingSettings | None = None  # with what repeats the training; older files lack
    evaluation: EvaluationSettings | None = None  # these two
    weights_sha256: str
    refit: Refit | None = None


def load_description(folder: Path) -> ModelDescription:
    """Read and check `model.json`. Raises ModelError."""
    path = folder / "model.json"
    if not path.is_file():
        raise ModelError(f"{folder}: no model.json; expected a folder that export has made")
    try:
        return ModelDescription.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        reason = describe(ModelDescription, error.errors()[0])
        raise ModelError(f"{path}: not a description of format {FORMAT} ({reason})") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not a description of format {FORMAT} (not text)") from error


def check_place(folder: Path) -> None:
    """Refuse to write a model where something else lies. Raises ModelError."""
    if folder.exists() and not (folder.is_dir() and _holds_only_a_model(folder)):
        raise ModelError(f"{folder}: holds something else; expected a new folder or a model folder")


def check_weights(folder: Path, description: ModelDescription) -> Path:
    """Return the file of the weights if it is the described one. Raises ModelError."""
    weights = folder / "model.safetensors"
    if not weights.is_file() or weights_sha256(weights) != description.weights_sha256:
        raise ModelError(f"{weights}: not the weights that model.json describes; copy it again")
    return weights


def weights_sha256(path: Path) -> str:
    """SHA-256 of a file of weights."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _holds_only_a_model(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    return not names or ("model.json" in names and names <= {*MODEL_FILES, LEDGER})
