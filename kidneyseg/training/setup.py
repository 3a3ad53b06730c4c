"""All that decides what a training gives."""

import hashlib
import json
from dataclasses import dataclass

from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.settings import (
    MACHINE_PATHS,
    DataSettings,
    EvaluationSettings,
    NetworkSettings,
    TrainingSettings,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSetup:
    """All that decides a training's result; of the slices, only where they come from."""

    data: DataSettings
    network: NetworkSettings
    training: TrainingSettings
    evaluation: EvaluationSettings
    hyperparameters: Hyperparameters
    seed: int
    cases: str  # fingerprint of the data set and its split

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all of it, a machine's paths left out."""
        parts = {
            "data": self.data.model_dump(mode="json", exclude=MACHINE_PATHS),
            "network": self.network.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            "evaluation": self.evaluation.model_dump(mode="json"),
            "hyperparameters": self.hyperparameters.model_dump(mode="json"),
            "seed": self.seed,
            "cases": self.cases,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
