"""The model folder: a trained network with all that is needed to use it and to defend it.

model.safetensors   the weights
model.json          network, preprocessing, threshold, hyper-parameters, measures, provenance
README.md           a model card for people
ledger.json         looks at the test cases, once there was one; kept where a folder is replaced
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from kidneyseg.errors import ModelError
from kidneyseg.files import replacing_folder
from kidneyseg.model.card import write_card
from kidneyseg.model.description import (
    FORMAT,
    ModelDescription,
    Validation,
    check_weights,
    load_description,
    weights_sha256,
)
from kidneyseg.model.looks import keep_looks
from kidneyseg.network import QuickNAT, build_quicknat, channels_last
from kidneyseg.provenance import Provenance
from kidneyseg.settings import MACHINE_PATHS
from kidneyseg.training.device import allow_tf32
from kidneyseg.training.results import EpochResult
from kidneyseg.training.setup import TrainingSetup


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A network ready for use."""

    network: QuickNAT
    description: ModelDescription
    device: torch.device


def describe_model(
    setup: TrainingSetup, result: EpochResult, provenance: Provenance
) -> ModelDescription:
    """Describe the network of a training as it is after an epoch."""
    return ModelDescription(
        format=FORMAT,
        network=setup.network,
        preprocessing=setup.data.model_copy(update=dict.fromkeys(MACHINE_PATHS)),
        threshold=setup.evaluation.threshold,
        hyperparameters=setup.hyperparameters,
        validation=Validation(
            epoch=result.epoch,
            dice=result.validation_dice,
            dice_of_case=result.dice_of_case,
            loss=result.validation_losses.combined,
            small_batch_size=result.small_batch_size,
            evaluation_batch_size=result.evaluation_batch_size,
        ),
        provenance=provenance,
        training=setup.training,
        evaluation=setup.evaluation,
        weights_sha256="",  # known when the weights are written
    )


def save_model(folder: Path, network: QuickNAT, description: ModelDescription) -> None:
    """Write a model folder, whole or not at all; one that is there is replaced."""
    weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    with replacing_folder(folder) as temporary:
        save_file(weights, temporary / "model.safetensors")
        (temporary / "model.safetensors").chmod(temporary.stat().st_mode & 0o666)
        sha256 = weights_sha256(temporary / "model.safetensors")
        written = description.model_copy(update={"weights_sha256": sha256})
        (temporary / "model.json").write_text(
            written.model_dump_json(indent=2) + "\n", encoding="utf-8"
        )
        (temporary / "README.md").write_text(write_card(written), encoding="utf-8")
        keep_looks([folder], temporary)


def copy_model(source: Path, out: Path) -> None:
    """Copy a model folder, whole or not at all; one that is there is replaced.

    A card that is missing is written anew. Looks that lie in either folder are kept.
    """
    with replacing_folder(out) as temporary:
        for name in ("model.safetensors", "model.json"):
            shutil.copyfile(source / name, temporary / name)
        if (source / "README.md").is_file():
            shutil.copyfile(source / "README.md", temporary / "README.md")
        else:
            card = write_card(load_description(source))
            (temporary / "README.md").write_text(card, encoding="utf-8")
        keep_looks([out, source], temporary)


def load_model(folder: Path, device: torch.device) -> Model:
    """Load a model folder. A GPU computes in TF32 from then on if the model was trained in it.

    Raises ModelError for one that is missing, damaged, of another format, or not QuickNAT's.
    """
    description = load_description(folder)
    weights = check_weights(folder, description)
    network = build_quicknat(description.network, dropout=description.hyperparameters.dropout)
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{weights}: does not fit the network of model.json ({reason})") from error
    training = description.training
    allow_tf32(training is not None and training.precision == "tf32")
    network = channels_last(network, device).eval()
    return Model(network=network, description=description, device=device)
