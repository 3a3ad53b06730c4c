"""Search spaces: what a study varies, as a person writes it, and drawing from it."""

import math
from typing import Annotated, Any, Literal, Self

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial
from pydantic import Field, RootModel, create_model, model_validator

from kidneyseg.errors import SettingsError
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.settings import Part
from kidneyseg.toml_files import validate

Value = bool | int | float | str


class _Range(Part):
    """What every kind of range has."""

    only_if: dict[str, Value] = {}  # varied only where these hyper-parameters have these values

    def applies(self, values: dict[str, Any]) -> bool:
        """Whether `only_if` holds for the values drawn and fixed so far."""
        return all(values.get(name) == value for name, value in self.only_if.items())


class FloatRange(_Range):
    """A real number between two ends."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False
    step: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_ends(self.low, self.high, log=self.log)
        if self.log and self.step is not None:
            raise ValueError("give log or step, not both")
        return self

    def distribution(self) -> BaseDistribution:
        """The range as Optuna's."""
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def ends(self) -> tuple[Value, ...]:
        """The values to check against the hyper-parameters."""
        return (self.low, self.high)


class IntRange(_Range):
    """A whole number between two ends."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False
    step: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_ends(self.low, self.high, log=self.log)
        if self.log and self.step != 1:
            raise ValueError("give log or step, not both")
        return self

    def distribution(self) -> BaseDistribution:
        """The range as Optuna's."""
        return IntDistribution(self.low, self.high, log=self.log, step=self.step)

    def ends(self) -> tuple[Value, ...]:
        """The values to check against the hyper-parameters."""
        return (self.low, self.high)


class Choice(_Range):
    """One of some values."""

    type: Literal["categorical"]
    choices: tuple[Value, ...] = Field(min_length=1)

    def distribution(self) -> BaseDistribution:
        """The choices as Optuna's."""
        return CategoricalDistribution(self.choices)

    def ends(self) -> tuple[Value, ...]:
        """The values to check against the hyper-parameters."""
        return self.choices


Range = Annotated[FloatRange | IntRange | Choice, Field(discriminator="type")]


class SearchSpace(RootModel[dict[str, Range]]):
    """Ranges by hyper-parameter, drawn in the order of the file."""

    def names(self) -> tuple[str, ...]:
        """The hyper-parameters that vary."""
        return tuple(self.root)

    def without(self, names: set[str]) -> "SearchSpace":
        """The same space with some hyper-parameters left out, because they are fixed."""
        return SearchSpace(
            {name: range_ for name, range_ in self.root.items() if name not in names}
        )

    def draw(self, trial: Trial, fixed: dict[str, Any]) -> Hyperparameters:
        """Draw a trial's hyper-parameters; what is neither drawn nor fixed has its default."""
        values = {**Hyperparameters().model_dump(), **fixed}
        for name, range_ in self.root.items():
            if range_.applies(values):
                values[name] = _suggest(trial, name, range_.distribution())
        return Hyperparameters.model_validate(values)

    def check(self, fixed: dict[str, Any], source: str) -> None:
        """Try both ends of every range on `Hyperparameters`. Raises SettingsError."""
        check_hyperparameters(fixed, source)
        earlier = set(Hyperparameters.model_fields) - set(self.root)
        for name, range_ in self.root.items():
            _check_whole(name, range_, source)
            for end in range_.ends():
                check_hyperparameters({**fixed, name: end}, source)
            if unknown := set(range_.only_if) - earlier:
                raise SettingsError(
                    f"{source}: {name}.only_if names {', '.join(sorted(unknown))}; expected "
                    "hyper-parameters that are fixed or stand earlier in the file"
                )
            earlier.add(name)

    def check_point(self, point: dict[str, Any], source: str) -> None:
        """Check that a start point lies in the space. Raises SettingsError."""
        for name, value in point.items():
            if name not in self.root:
                raise SettingsError(
                    f"{source}: start point sets {name}, which does not vary; expected only "
                    f"{', '.join(self.names())}"
                )
            if not _contains(self.root[name].distribution(), value):
                raise SettingsError(
                    f"{source}: start point {name} = {value!r} lies outside the search space"
                )


def parse_space(values: dict[str, Any], source: str) -> SearchSpace:
    """Make a search space of a file's values. Raises SettingsError."""
    for name in values:
        if name not in Hyperparameters.model_fields:
            known = ", ".join(Hyperparameters.model_fields)
            raise SettingsError(
                f"{source}: unknown hyper-parameter {name}; expected one of {known}"
            )
    fields: dict[str, Any] = dict.fromkeys(values, (Range, ...))
    file = validate(create_model("SearchSpaceFile", __base__=Part, **fields), values, source)
    return SearchSpace({name: getattr(file, name) for name in values})


def check_hyperparameters(values: dict[str, Any], source: str) -> Hyperparameters:
    """Make hyper-parameters of values. Raises SettingsError that names the source and the key."""
    return validate(Hyperparameters, values, source)


def _check_whole(name: str, range_: "FloatRange | IntRange | Choice", source: str) -> None:
    """Ends may be whole where what lies between them is not."""
    if isinstance(range_, FloatRange) and Hyperparameters.model_fields[name].annotation is int:
        raise SettingsError(
            f'{source}: {name}.type = "float": expected "int", it is a whole number'
        )


def _check_ends(low: float, high: float, *, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"low {low:g} and high {high:g}: expected low <= high, both finite")
    if log and low <= 0:
        raise ValueError(f"low {low:g}: expected above 0 on a log scale")


def _contains(distribution: BaseDistribution, value: Value) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return False


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Value:
    match distribution:
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(name, low, high, step=step, log=log)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case CategoricalDistribution(choices=choices):
            value: Value = trial.suggest_categorical(name, choices)  # type: ignore[assignment]
            return value
        case _:
            raise TypeError(f"no such distribution: {distribution}")
