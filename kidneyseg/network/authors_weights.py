"""Weights of the authors' own code, for the network in their variant (`quicknat.AUTHORS`).

docs/authors_weights.md says how a person turns a file of theirs into safetensors.
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kidneyseg.errors import ModelError
from kidneyseg.network.quicknat import QuickNAT

# (part of a name here, part of the same name in the authors' code), applied from the top down
NAME_PARTS = (
    (".dense.", "."),
    (".squeeze_excitation.channel.", ".SELayer.cSE."),
    (".squeeze_excitation.spatial.", ".SELayer.sSE."),
    (".squeeze_excitation.", ".SELayer."),  # where there is only one of the two
    (".activation.", ".prelu."),
    ("classifier.", "classifier.conv."),
)
NEVER_USED = "bottleneck.SELayer."  # built by their code, never called
STEP_COUNT = ".num_batches_tracked"  # no part of the function; files before PyTorch 0.4.1 lack it


def load_authors_weights(network: QuickNAT, path: Path) -> None:
    """Set every weight and running statistic from the file, or raise and leave all as it was."""
    weights = _read(path)
    own = network.state_dict()
    theirs = {authors_name(name): name for name in own}
    _check_names(path, weights, theirs)
    found = {theirs[name]: value for name, value in weights.items() if name in theirs}
    _check_shapes(path, found, own)
    network.load_state_dict(own | found)


def authors_name(name: str) -> str:
    """What the authors' code calls the weight that is called `name` here."""
    for ours, theirs in NAME_PARTS:
        name = name.replace(ours, theirs)
    return name


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; expected the authors' weights as safetensors")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ModelError(
            f"{path}: not a safetensors file ({error}); docs/authors_weights.md says how to make it"
        ) from error


def _check_names(path: Path, weights: Mapping[str, Tensor], theirs: Mapping[str, str]) -> None:
    needed = {name for name in theirs if not name.endswith(STEP_COUNT)}
    if missing := sorted(needed - weights.keys()):
        raise ModelError(f"{path}: lacks {_some(missing)}, which the network needs")
    unused = weights.keys() - theirs.keys()
    if unknown := sorted(name for name in unused if not name.startswith(NEVER_USED)):
        raise ModelError(f"{path}: holds {_some(unknown)}, for which the network has no place")


def _check_shapes(path: Path, found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    for name, value in found.items():
        if value.shape != own[name].shape:
            raise ModelError(
                f"{path}: {authors_name(name)} has shape {tuple(value.shape)}, "
                f"expected {tuple(own[name].shape)} with these network settings"
            )


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
