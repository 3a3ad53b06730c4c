"""`model.json`: what a network is, how scans must come to it, and where it comes from."""

from typing import Literal

from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.provenance import Provenance
from kidneyseg.settings import DataSettings, NetworkSettings, Part

FORMAT: Literal[1] = 1


class Validation(Part):
    """Measures on the validation cases: kept slices, training resolution."""

    epoch: int  # the best one, from 1
    dice: float  # per volume, averaged over the volumes
    dice_of_case: dict[str, float]
    loss: float  # combined, averaged over the slices


class ModelDescription(Part):
    """All about a model but its weights."""

    format: Literal[1]
    network: NetworkSettings
    preprocessing: DataSettings  # without a machine's paths
    threshold: float
    hyperparameters: Hyperparameters
    validation: Validation
    provenance: Provenance
    weights_sha256: str
