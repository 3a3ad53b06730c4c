"""Which trials are given up early: `[pruner]` of a study file."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kidneyseg.settings import Fraction, Part


class NoPruner(Part):
    """Every trial runs to its own end."""

    name: Literal["none"]


class Median(Part):
    """Prune a trial whose best Dice so far is below the median of the others' at this epoch."""

    name: Literal["median"]
    n_startup_trials: int = Field(default=5, ge=1)
    """Complete trials before anything is pruned."""
    n_warmup_epochs: int = Field(default=2, ge=1)
    """Epochs of a trial in which it is not pruned."""


class Percentile(Part):
    """As the median's, with another share kept: 25 keeps what reaches the others' best quarter."""

    name: Literal["percentile"]
    percentile: float = Field(gt=0, lt=100)
    """Of the complete trials, counted from the best."""
    n_startup_trials: int = Field(default=5, ge=1)
    """Complete trials before anything is pruned."""
    n_warmup_epochs: int = Field(default=2, ge=1)
    """Epochs of a trial in which it is not pruned."""


class SuccessiveHalving(Part):
    """Keep the best of all that came as far, at epochs that grow by a factor.

    At epochs `min_epochs` x `reduction_factor`^k a trial goes on if its Dice there is in the top
    1 / `reduction_factor` of all trials' Dice there, as far as they came: the asynchronous rule.
    """

    name: Literal["successive_halving"]
    min_epochs: int = Field(default=1, ge=1)
    """The first decision."""
    reduction_factor: int = Field(default=3, ge=2)
    """A trial goes on if it is in the top 1 / `reduction_factor`."""


class Hyperband(Part):
    """Successive halving in several brackets, of which each begins a decision later.

    The resources are explicit: guessed from the first trial that ended, whose patience may have
    shortened it, they would differ from run to run.
    """

    name: Literal["hyperband"]
    min_epochs: int = Field(default=1, ge=1)
    """The first decision."""
    max_epochs: int = Field(ge=1)
    """What a trial may reach: `training.max_epochs`."""
    reduction_factor: int = Field(default=3, ge=2)
    """A trial goes on if it is in the top 1 / `reduction_factor`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_epochs < self.min_epochs:
            raise ValueError(
                f"max_epochs {self.max_epochs}: expected at least min_epochs ({self.min_epochs})"
            )
        return self


class Threshold(Part):
    """Prune a trial whose Dice at any epoch after the warm-up is below a fixed one."""

    name: Literal["threshold"]
    lower: float = Field(gt=0, le=1)
    """A Dice."""
    n_warmup_epochs: int = Field(default=2, ge=0)
    """Epochs of a trial in which it is not pruned."""


class KeepAfter(Part):
    """Decide once, at a fixed epoch: keep the best share of all that came as far, to their end.

    A trial is kept if its best Dice up to this epoch is among the best ceil(`share` x n) of the n
    trials that have reported it, itself included; a tie is kept. The first `n_startup_trials` to
    get there are kept, too: there is nobody to compare them with. Trials count whatever became of
    them later, with their best Dice up to the same epoch. Before and after it nothing is pruned.

    With `epoch = 1` this is the baseline of Egele et al., "Is one epoch all you need for
    multi-fidelity hyperparameter optimization?" (ESANN 2023), for trials that arrive one by one.
    """

    name: Literal["keep_after"]
    epoch: int = Field(default=2, ge=1)
    """The one decision."""
    share: Fraction = 1 / 3
    """Of all that came as far: these are kept."""
    n_startup_trials: int = Field(default=5, ge=1)
    """Complete trials before anything is pruned."""


PrunerSettings = Annotated[
    NoPruner | Median | Percentile | SuccessiveHalving | Hyperband | Threshold | KeepAfter,
    Field(discriminator="name"),
]
