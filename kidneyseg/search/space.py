"""Search spaces: what a study varies, as a person writes it, and drawing from it.

A study varies hyper-parameters, under their plain names, and settings of the network, under dotted
ones (`network.filters`): the same name in the file, in `--set`, and in the database.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, get_args, get_origin

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial
from pydantic import RootModel, create_model
from pydantic.fields import FieldInfo

from kidneyseg.errors import SettingsError
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.search.ranges import Choice, FloatRange, IntRange, Range, Value, contains, flat_names
from kidneyseg.settings import NetworkSettings, Part
from kidneyseg.toml_files import validate

NETWORK = "network."  # how the names of network settings begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What a trial trains with."""

    hyperparameters: Hyperparameters
    network: NetworkSettings
    seed: int


class _Point(Hyperparameters):
    """All that a search space may vary."""

    network: NetworkSettings = NetworkSettings()


VARIABLE: dict[str, FieldInfo] = {  # all that may vary, by name
    **Hyperparameters.model_fields,
    **{
        f"{NETWORK}{name}": field
        for name, field in NetworkSettings.model_fields.items()
        if name != "pool_size"  # slices that are large enough for one may be too small for another
    },
}


class SearchSpace(RootModel[dict[str, Range]]):
    """Ranges by the name of what varies, drawn in the order of the file."""

    def names(self) -> tuple[str, ...]:
        """The names of what varies."""
        return tuple(self.root)

    def without(self, names: set[str]) -> "SearchSpace":
        """The same space with some hyper-parameters left out, because they are fixed."""
        return SearchSpace(
            {name: range_ for name, range_ in self.root.items() if name not in names}
        )

    def choose(
        self,
        given: Mapping[str, Any],  # the value of everything that does not vary, see `given_values`
        value_of: Callable[[str, FloatRange | IntRange | Choice], Value],
    ) -> dict[str, Value]:
        """Choose a value from every range that applies, in order; only those are returned."""
        chosen: dict[str, Value] = {}
        for name, range_ in self.root.items():
            if range_.applies({**given, **chosen}):
                chosen[name] = value_of(name, range_)
        return chosen

    def draw(self, trial: Trial, given: Mapping[str, Any]) -> dict[str, Value]:
        """Draw a trial's values; Optuna notes them in the database."""
        return self.choose(given, lambda name, range_: _suggest(trial, name, range_.distribution()))

    def check(self, fixed: Mapping[str, Any], source: str) -> None:
        """Try the ends of every range on what they are ranges of. Raises SettingsError."""
        check_hyperparameters(fixed, source)
        earlier = set(VARIABLE) - set(self.root)
        for name, range_ in self.root.items():
            _check_whole(name, range_, source)
            for value in _values_to_try(name, range_):
                validate(_Point, _nested({**fixed, name: value}), source)
            if unknown := set(range_.only_if) - earlier:
                raise SettingsError(
                    f"{source}: {name}.only_if names {', '.join(sorted(unknown))}; expected "
                    "hyper-parameters that are fixed or stand earlier in the file"
                )
            validate(_Point, _nested(range_.only_if), f"{source}: {name}.only_if")
            earlier.add(name)

    def check_point(self, point: Mapping[str, Any], source: str) -> None:
        """Check that a start point lies in the space. Raises SettingsError."""
        for name, value in point.items():
            if name not in self.root:
                raise SettingsError(
                    f"{source}: start point sets {name}, which does not vary; expected only "
                    f"{', '.join(self.names())}"
                )
            if not contains(self.root[name], value):
                raise SettingsError(
                    f"{source}: start point {name} = {value!r} lies outside the search space"
                )


def parse_space(values: Mapping[str, Any], source: str) -> SearchSpace:
    """Make a search space of a file's values. Raises SettingsError."""
    tables: dict[str, Any] = flat_names(values)
    for name in tables:
        if name not in VARIABLE:
            raise SettingsError(
                f"{source}: unknown hyper-parameter {name}; expected one of {', '.join(VARIABLE)}"
            )
    fields: dict[str, Any] = dict.fromkeys(tables, (Range, ...))
    file = validate(create_model("SearchSpaceFile", __base__=Part, **fields), tables, source)
    return SearchSpace({name: getattr(file, name) for name in tables})


def check_hyperparameters(values: Mapping[str, Any], source: str) -> Hyperparameters:
    """Make hyper-parameters of values. Raises SettingsError that names the source and the key."""
    return validate(Hyperparameters, dict(values), source)


def given_values(fixed: Mapping[str, Any], network: NetworkSettings) -> dict[str, Value]:
    """The value of everything in a study that nothing is drawn for, by name."""
    settings = {f"{NETWORK}{name}": value for name, value in network.model_dump().items()}
    return {**Hyperparameters().model_dump(), **settings, **fixed}


def make_draw(values: Mapping[str, Any], seed: int) -> Draw:
    """What a trial trains with, of values for everything by name, and a seed."""
    point = _Point.model_validate(_nested(values))
    hyperparameters = point.model_dump(exclude={"network"})
    return Draw(
        hyperparameters=Hyperparameters.model_validate(hyperparameters),
        network=point.network,
        seed=seed,
    )


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name as their models have them: those of the network in a part of their own."""
    settings = {
        name.removeprefix(NETWORK): value
        for name, value in values.items()
        if name.startswith(NETWORK)
    }
    plain = {name: value for name, value in values.items() if not name.startswith(NETWORK)}
    return {**plain, "network": settings} if settings else plain


def _values_to_try(name: str, range_: FloatRange | IntRange | Choice) -> Iterable[Value]:
    """Both ends; all of them where one between them may be none of a setting's few values."""
    if isinstance(range_, IntRange) and get_origin(VARIABLE[name].annotation) is Literal:
        return islice(range_.values(), 100)
    return range_.ends()


def _check_whole(name: str, range_: FloatRange | IntRange | Choice, source: str) -> None:
    """Ends may be whole where what lies between them is not."""
    kind: Any = VARIABLE[name].annotation
    is_whole = kind is int or all(isinstance(value, int) for value in get_args(kind) or ("",))
    if isinstance(range_, FloatRange) and is_whole:
        raise SettingsError(
            f'{source}: {name}.type = "float": expected "int", it is a whole number'
        )


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
