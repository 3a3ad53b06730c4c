"""Ranges: what one hyper-parameter or network setting may be in a study, as a person writes it."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import BeforeValidator, Field, model_validator

from kidneyseg.settings import Part

Value = bool | int | float | str


def flat_names(values: Any) -> Any:
    """Name settings of the network by dotted names: TOML makes a table `network` of them."""
    if not isinstance(values, Mapping) or not isinstance(values.get("network"), Mapping):
        return values
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= (
            {f"network.{key}": value[key] for key in value} if name == "network" else {name: value}
        )
    return flat


ValuesByName = Annotated[dict[str, Value], BeforeValidator(flat_names)]


class _Range(Part):
    """What every kind of range has."""

    only_if: ValuesByName = {}  # varied only where these have these values

    def applies(self, values: Mapping[str, Any]) -> bool:
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
        if self.step is not None:
            _check_step(self.low, self.high, self.step, log=self.log)
        return self

    def distribution(self) -> BaseDistribution:
        """The range as Optuna's."""
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def ends(self) -> tuple[Value, ...]:
        """The values to check against the hyper-parameters and settings."""
        return (self.low, self.high)

    def values(self) -> tuple[Value, ...] | None:
        """Every value in order; None where there are too many to count."""
        if self.low == self.high:
            return (self.low,)
        if self.step is None:
            return None
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        return tuple(float(low + k * step) for k in range(self._n_steps() + 1))

    def at(self, share: float) -> Value:
        """The value at a share, in [0, 1), of the way through the range."""
        values = self.values()
        if values is not None:
            return values[int(share * len(values))]
        if self.log:
            return _clip(math.exp(_between(math.log(self.low), math.log(self.high), share)), self)
        return _clip(_between(self.low, self.high, share), self)

    def _n_steps(self) -> int:
        width = Decimal(str(self.high)) - Decimal(str(self.low))
        return int(width // Decimal(str(self.step)))


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
        if self.step != 1:
            _check_step(self.low, self.high, self.step, log=self.log)
        return self

    def distribution(self) -> BaseDistribution:
        """The range as Optuna's."""
        return IntDistribution(self.low, self.high, log=self.log, step=self.step)

    def ends(self) -> tuple[Value, ...]:
        """The values to check against the hyper-parameters and settings."""
        return (self.low, self.high)

    def values(self) -> range:
        """Every value in order."""
        return range(self.low, self.high + 1, self.step)

    def at(self, share: float) -> Value:
        """The value at a share, in [0, 1), of the way through the range."""
        if not self.log:
            return self.values()[int(share * len(self.values()))]
        # As wide around each whole number as rounding is, at both ends, too: Optuna's own rule.
        exact = math.exp(_between(math.log(self.low - 0.5), math.log(self.high + 0.5), share))
        return _clip(round(exact), self)


class Choice(_Range):
    """One of some values."""

    type: Literal["categorical"]
    choices: tuple[Value, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices {list(self.choices)}: expected each of them once")
        return self

    def distribution(self) -> BaseDistribution:
        """The choices as Optuna's."""
        return CategoricalDistribution(self.choices)

    def ends(self) -> tuple[Value, ...]:
        """The values to check against the hyper-parameters and settings."""
        return self.choices

    def values(self) -> tuple[Value, ...]:
        """Every value in order."""
        return self.choices

    def at(self, share: float) -> Value:
        """The choice at a share, in [0, 1), of the way through them."""
        return self.choices[int(share * len(self.choices))]


Range = Annotated[FloatRange | IntRange | Choice, Field(discriminator="type")]


def contains(range_: FloatRange | IntRange | Choice, value: Value) -> bool:
    """Whether a value lies in a range, on a step where it has steps."""
    distribution = range_.distribution()
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return False


def _between(low: float, high: float, share: float) -> float:
    return low + share * (high - low)


def _clip(value: float, range_: FloatRange | IntRange) -> float:
    """Rounding of exp(log(low)) must not leave the range."""
    return min(max(value, range_.low), range_.high)


def _check_ends(low: float, high: float, *, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"low {low:g} and high {high:g}: expected low <= high, both finite")
    if log and low <= 0:
        raise ValueError(f"low {low:g}: expected above 0 on a log scale")


def _check_step(low: float, high: float, step: float, *, log: bool) -> None:
    if log:
        raise ValueError("give log or step, not both")
    if (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)):
        raise ValueError(f"high {high:g}: expected low {low:g} plus a multiple of step {step:g}")
