"""How the next point is drawn: `[sampler]` of a study file."""

from math import prod
from typing import Annotated, Literal

from pydantic import Field

from kidneyseg.errors import SettingsError
from kidneyseg.search.ranges import Choice
from kidneyseg.search.space import SearchSpace
from kidneyseg.settings import Part

MOST_GRID_POINTS = 10_000


class TPE(Part):
    """Tree-structured Parzen estimator, as Optuna 5 sets it up."""

    name: Literal["tpe"]
    n_startup_trials: int = Field(default=10, ge=0)
    """Trials drawn at random first."""


class GP(Part):
    """Gaussian process, as Optuna sets it up. It models what every trial draws."""

    name: Literal["gp"]
    n_startup_trials: int = Field(default=10, ge=1)
    """Trials drawn at random first."""


class CMAES(Part):
    """Covariance matrix adaptation, of numbers alone."""

    name: Literal["cmaes"]
    population: int | None = Field(default=None, ge=4)
    """Complete trials of a generation; by default 4 + floor(3 ln(how many vary))."""


class QMC(Part):
    """A sequence that fills the space evenly, in an order of the study's seed."""

    name: Literal["qmc"]
    sequence: Literal["sobol", "halton"] = "sobol"
    """Which sequence."""


class Random(Part):
    """Independent random draws."""

    name: Literal["random"]


class Grid(Part):
    """Every combination once, in an order of the study's seed; start points first."""

    name: Literal["grid"]


SamplerSettings = Annotated[TPE | GP | CMAES | QMC | Random | Grid, Field(discriminator="name")]


def check_sampler(settings: SamplerSettings, space: SearchSpace, source: str) -> None:
    """Refuse a search space that a sampler cannot draw from. Raises SettingsError."""
    match settings:
        case Grid():
            _check_grid(space, source)
        case CMAES():
            _check_numbers(space, source)
        case _:
            return


def _check_grid(space: SearchSpace, source: str) -> None:
    sizes = []
    for name, range_ in space.root.items():
        values = range_.values()
        if values is None:
            raise SettingsError(
                f"{source}: {name} has no step, which a grid needs; expected step, or choices"
            )
        sizes.append(len(values))
    if prod(sizes) > MOST_GRID_POINTS:
        raise SettingsError(
            f"{source}: a grid of {prod(sizes)} points; expected at most {MOST_GRID_POINTS}"
        )


def _check_numbers(space: SearchSpace, source: str) -> None:
    for name, range_ in space.root.items():
        if isinstance(range_, Choice) or range_.only_if:
            what = "is categorical" if isinstance(range_, Choice) else "has only_if"
            raise SettingsError(
                f"{source}: {name} {what}, which CMA-ES cannot draw; expected numbers that every "
                "trial has, or another sampler"
            )
    if all(len(set(range_.ends())) == 1 for range_ in space.root.values()):
        raise SettingsError(f"{source}: nothing varies; expected low < high somewhere")
