"""How the next point is drawn: `[sampler]` of a study file."""

from typing import Annotated, Literal

from pydantic import Field

from kidneyseg.settings import Part


class TPE(Part):
    """Tree-structured Parzen estimator, as Optuna 5 sets it up."""

    name: Literal["tpe"]
    n_startup_trials: int = Field(default=10, ge=0)  # drawn at random first


class Random(Part):
    """Independent random draws."""

    name: Literal["random"]


SamplerSettings = Annotated[TPE | Random, Field(discriminator="name")]
