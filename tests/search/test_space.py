"""Search spaces: what is drawn, and that a wrong one is refused before anything is trained."""

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from kidneyseg.errors import SettingsError
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.search.space import VARIABLE, SearchSpace, given_values, make_draw, parse_space
from kidneyseg.settings import NetworkSettings

RATE = {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}
BATCH = {"type": "int", "low": 4, "high": 32, "step": 4}


def refusal(values: dict[str, Any], fixed: dict[str, Any] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        parse_space(values, "space.toml").check(fixed or {}, "space.toml")
    message = str(caught.value)
    assert message.startswith("space.toml: ")
    assert "\n" not in message
    return message


def drawn(space: SearchSpace, trial: optuna.Trial, **fixed: Any) -> Hyperparameters:
    given = given_values(fixed, NetworkSettings())
    return make_draw({**given, **space.draw(trial, given)}, 0).hyperparameters


def draws(space: SearchSpace, n: int = 60, **fixed: Any) -> list[Hyperparameters]:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    return [drawn(space, study.ask(), **fixed) for _ in range(n)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"lr": RATE}, "unknown hyper-parameter lr; expected one of learning_rate, alpha"),
        ({"learning_rate": 0.1}, "learning_rate = 0.1: expected"),
        ({"learning_rate": {"low": 1, "high": 2}}, "learning_rate.type is missing"),
        ({"learning_rate": {**RATE, "type": "real"}}, "'float', 'int', 'categorical'"),
        (
            {"learning_rate": {**RATE, "lo": 1}},
            "unknown key learning_rate.lo; expected one of only_if, type, low, high, log, step",
        ),
        ({"learning_rate": {"type": "float", "low": 1e-4}}, "learning_rate.high is missing"),
        ({"learning_rate": {**RATE, "low": "x"}}, "learning_rate.low = 'x': expected a valid num"),
        (
            {"learning_rate": {**RATE, "low": 1.0}},
            "learning_rate: low 1 and high 0.01: expected low <= high, both finite",
        ),
        ({"learning_rate": {**RATE, "low": float("nan")}}, "learning_rate.low = nan: expected a f"),
        ({"learning_rate": {**RATE, "low": 0}}, "learning_rate: low 0: expected above 0 on a log"),
        ({"learning_rate": {**RATE, "step": 0.1}}, "learning_rate: give log or step, not both"),
        ({"batch_size": {**BATCH, "log": True}}, "batch_size: give log or step, not both"),
        ({"batch_size": {**BATCH, "low": 4.5}}, "batch_size.low = 4.5: expected a valid integer"),
        ({"batch_size": {"type": "categorical", "choices": []}}, "batch_size.choices = []: "),
        ({"network": {"filter": BATCH}}, "unknown hyper-parameter network.filter; expected one of"),
        ({"network": {"pool_size": BATCH}}, "unknown hyper-parameter network.pool_size; expected"),
        ({"network": 3}, "unknown hyper-parameter network; expected one of"),
        (
            {"network": {"filters": {**BATCH, "lo": 1}}},
            "unknown key network.filters.lo; expected one of only_if",
        ),
    ],
)
def test_a_malformed_range_is_refused(values: dict[str, Any], expected: str) -> None:
    assert expected in refusal(values)


@pytest.mark.parametrize(
    ("name", "range_", "expected"),
    [
        ("learning_rate", {"type": "float", "low": 0, "high": 1}, "learning_rate = 0.0: expected"),
        ("learning_rate", {"type": "float", "low": 1, "high": 11}, "learning_rate = 11.0: expec"),
        ("dropout", {"type": "float", "low": 0, "high": 1}, "dropout = 1.0: expected less than 1"),
        ("beta", {"type": "float", "low": -1, "high": 1}, "beta = -1.0: expected"),
        ("batch_size", {"type": "int", "low": 0, "high": 8}, "batch_size = 0: expected"),
        ("batch_size", {"type": "int", "low": 1, "high": 5000}, "batch_size = 5000: expected"),
        ("gamma", {"type": "categorical", "choices": [0.5, 2, 1]}, "gamma = 2: expected"),
        ("alpha", {"type": "categorical", "choices": [1, "high"]}, "alpha = 'high': expected"),
        ("network.filters", {"type": "int", "low": 1, "high": 8}, "network.filters = 1: expected"),
        ("network.kernel_size", {"type": "int", "low": 3, "high": 9, "step": 2}, "size = 9: expe"),
        ("network.kernel_size", {"type": "int", "low": 3, "high": 5}, "kernel_size = 4: expected"),
        ("network.filters", {"type": "float", "low": 8, "high": 9}, 'expected "int", it is a whol'),
        ("network.kernel_size", {"type": "float", "low": 3, "high": 5}, 'type = "float": expect'),
        (
            "network.activation",
            {"type": "categorical", "choices": ["relu", "gelu"]},
            "network.activation = 'gelu': expected 'relu' or 'prelu'",
        ),
        (
            "beta",
            {"type": "int", "low": 1, "high": 2, "only_if": {"network.activation": "gelu"}},
            "beta.only_if: network.activation = 'gelu': expected",
        ),
    ],
)
def test_both_ends_and_every_choice_must_be_hyperparameters(
    name: str, range_: dict[str, Any], expected: str
) -> None:
    assert expected in refusal({name: range_})


def test_a_whole_number_is_not_drawn_from_a_real_range() -> None:
    """Both ends of 4.0 to 8.0 are whole numbers; 5.3 is not."""
    values = {"batch_size": {"type": "float", "low": 4.0, "high": 8.0}}
    assert "batch_size" in refusal(values)
    assert "int" in refusal(values)


def test_a_fixed_value_must_be_a_hyperparameter() -> None:
    assert "dropout = 2: expected less than 1" in refusal({"learning_rate": RATE}, {"dropout": 2})
    assert "unknown key drop" in refusal({"learning_rate": RATE}, {"drop": 0.2})


def test_only_if_must_name_what_is_fixed_or_stands_earlier() -> None:
    late = {"beta": {**RATE, "only_if": {"batch_size": 4}}, "batch_size": BATCH}
    assert refusal(late) == (
        "space.toml: beta.only_if names batch_size; expected hyper-parameters that are fixed or "
        "stand earlier in the file"
    )
    assert "only_if names momentum" in refusal({"beta": {**RATE, "only_if": {"momentum": 1}}})
    early = {"batch_size": BATCH, "beta": {**RATE, "only_if": {"batch_size": 4}}}
    parse_space(early, "space.toml").check({}, "space.toml")


NETWORK = {
    "network": {
        "bottleneck": {"type": "categorical", "choices": ["convolution", "dense"]},
        "filters": {"type": "int", "low": 8, "high": 64, "step": 8},
        "kernel_size": {
            "type": "int",
            "low": 3,
            "high": 7,
            "step": 2,
            "only_if": {"sampling": "balanced", "network.bottleneck": "dense"},
        },
    }
}


def test_network_settings_vary_under_dotted_names_and_the_others_are_the_studys() -> None:
    space = parse_space(NETWORK, "space.toml")
    assert space.names() == ("network.bottleneck", "network.filters", "network.kernel_size")
    space.check({}, "space.toml")
    base = NetworkSettings(activation="prelu", kernel_size=1)
    given = given_values({"beta": 0.25, "sampling": "balanced"}, base)
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    kernels: dict[str, set[int]] = {"dense": set(), "convolution": set()}
    for _ in range(40):
        trial = study.ask()
        draw = make_draw({**given, **space.draw(trial, given)}, 0)
        assert draw.network.filters == trial.params["network.filters"]
        assert draw.network.activation == "prelu"
        assert draw.hyperparameters == Hyperparameters(beta=0.25, sampling="balanced")
        kernels[draw.network.bottleneck].add(draw.network.kernel_size)
    assert kernels == {"dense": {3, 5, 7}, "convolution": {1}}


def test_every_network_setting_but_the_pool_may_vary() -> None:
    assert {f"network.{name}" for name in NetworkSettings.model_fields} - set(VARIABLE) == {
        "network.pool_size"
    }


def test_ranges_are_optunas() -> None:
    space = parse_space(
        {
            "learning_rate": RATE,
            "batch_size": BATCH,
            "dropout": {"type": "float", "low": 0.0, "high": 0.5, "step": 0.1},
            "gamma": {"type": "categorical", "choices": [0.1, 0.5]},
        },
        "space.toml",
    )
    assert [range_.distribution() for range_ in space.root.values()] == [
        FloatDistribution(1e-4, 1e-2, log=True),
        IntDistribution(4, 32, step=4),
        FloatDistribution(0.0, 0.5, step=0.1),
        CategoricalDistribution((0.1, 0.5)),
    ]


def test_what_is_drawn_lies_in_the_range_and_the_rest_has_fixed_or_default_values() -> None:
    space = parse_space({"learning_rate": RATE, "batch_size": BATCH}, "space.toml")
    found = draws(space, beta=0.25)
    assert all(1e-4 <= each.learning_rate <= 1e-2 for each in found)
    assert {each.batch_size for each in found} == set(range(4, 33, 4))
    assert {each.beta for each in found} == {0.25}
    assert {each.dropout for each in found} == {Hyperparameters().dropout}


def test_a_log_range_is_drawn_evenly_over_the_decades() -> None:
    space = parse_space({"learning_rate": RATE}, "space.toml")
    below = sum(each.learning_rate < 1e-3 for each in draws(space, 200))
    assert 70 < below < 130


def test_only_if_decides_what_varies() -> None:
    space = parse_space(
        {
            "border_weight": {"type": "categorical", "choices": [0.0, 4.0]},
            "border_sigma_px": {
                "type": "float",
                "low": 1,
                "high": 2,
                "only_if": {"border_weight": 4.0},
            },
        },
        "space.toml",
    )
    default = Hyperparameters().border_sigma_px
    with_border, without = (
        FixedTrial({"border_weight": 4.0, "border_sigma_px": 1.5}),
        FixedTrial({"border_weight": 0.0}),
    )
    assert drawn(space, with_border).border_sigma_px == 1.5  # type: ignore[arg-type]
    assert drawn(space, without).border_sigma_px == default  # type: ignore[arg-type]


def test_only_if_looks_at_fixed_values_and_defaults_too() -> None:
    range_ = {"type": "float", "low": 1, "high": 2, "only_if": {"batch_size": 16}}
    space = parse_space({"border_sigma_px": range_}, "space.toml")
    assert all(1 <= each.border_sigma_px <= 2 for each in draws(space, 5))
    assert all(each.border_sigma_px == 3.0 for each in draws(space, 5, batch_size=8))


def test_a_start_point_must_lie_in_the_space() -> None:
    space = parse_space({"learning_rate": RATE, "batch_size": BATCH}, "space.toml")
    space.check_point({"learning_rate": 1e-2, "batch_size": 8}, "study.toml")
    space.check_point({"batch_size": 8}, "study.toml")
    for point, expected in (
        ({"learning_rate": 0.02}, "start point learning_rate = 0.02 lies outside"),
        ({"learning_rate": "high"}, "start point learning_rate = 'high' lies outside"),
        ({"batch_size": 5}, "start point batch_size = 5 lies outside the search space"),
        ({"beta": 1}, "start point sets beta, which does not vary; expected only learning_rate"),
    ):
        with pytest.raises(SettingsError, match=rf"^study\.toml: .*{expected}"):
            space.check_point(point, "study.toml")


def test_what_is_fixed_no_longer_varies() -> None:
    space = parse_space({"learning_rate": RATE, "batch_size": BATCH}, "space.toml")
    assert space.without({"learning_rate"}).names() == ("batch_size",)
    assert space.names() == ("learning_rate", "batch_size")
