"""Which trials are given up early: `[pruner]` of a study file."""

from typing import Annotated, Literal

from pydantic import Field

from kidneyseg.settings import Part


class NoPruner(Part):
    """Every trial runs to its own end."""

    name: Literal["none"]


class Median(Part):
    """Prune a trial whose best Dice so far is below the median of the others' at this epoch."""

    name: Literal["median"]
    n_startup_trials: int = Field(default=5, ge=1)  # complete before anything is pruned
    n_warmup_epochs: int = Field(default=2, ge=1)  # of a trial, in which it is not pruned


PrunerSettings = Annotated[NoPruner | Median, Field(discriminator="name")]
