"""What is varied, or given, and can change nothing."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.ranges import Choice, FloatRange, IntRange, Value, contains
from kidneyseg.search.space import given_values
from kidneyseg.settings import Environment

Ranges = Mapping[str, FloatRange | IntRange | Choice]


def without_effect(plan: StudyPlan, environment: Environment) -> list[str]:
    """Sentences on what varies in a study, or is given for it, and can change nothing in it."""
    varied, given = plan.space.root, given_values(plan.fixed, environment.network)
    return [
        *_of_ranges(varied, given),
        *_of_decay(varied, given, {*varied, *plan.fixed}, environment.training.max_epochs),
        *_of_losses(varied, given),
        *_of_border(varied, given),
    ]


def given_without_effect(
    hyperparameters: Mapping[str, Value], environment: Environment
) -> list[str]:
    """The same of hyper-parameters that are given for one training."""
    given = given_values(hyperparameters, environment.network)
    return list(_of_decay({}, given, set(hyperparameters), environment.training.max_epochs))


def _of_ranges(varied: Ranges, given: Mapping[str, Value]) -> Iterator[str]:
    """Ranges of one value, and ranges that never apply. Network settings have no other such."""
    for name, range_ in varied.items():
        if len(set(range_.ends())) == 1:
            yield f"{name} does not vary: {range_.ends()[0]} is all that its range holds"
        for other, value in range_.only_if.items():
            if other in varied and not contains(varied[other], value):
                yield f"{name} never applies: {other} is never {value} in this search space"
            if other not in varied and given[other] != value:
                yield f"{name} never applies: {other} is {given[other]}, not {value}"


def _of_decay(
    varied: Ranges, given: Mapping[str, Any], named: AbstractSet[str], max_epochs: int
) -> Iterator[str]:
    """StepLR that never fires, though the study names one of its two; or not over a whole range."""
    smallest = int(_least(varied, given, "step_size"))
    off = "gamma" not in varied and given["gamma"] == 1
    ends = f"training ends after {max_epochs} at the latest (training.max_epochs)"
    if smallest >= max_epochs and not off:
        for name in sorted(named & {"step_size", "gamma"}):
            yield f"{name} has no effect: StepLR first decays after {smallest} epochs, and {ends}"
    if "step_size" not in varied:
        return
    if off:
        yield "step_size has no effect: gamma is 1, which is no decay"
    elif smallest < max_epochs <= (largest := int(max(varied["step_size"].ends()))):
        yield (
            f"step_size has no effect from {max_epochs} to {largest}: StepLR decays after so many "
            f"epochs, and {ends}"
        )


def _of_losses(varied: Ranges, given: Mapping[str, Any]) -> Iterator[str]:
    if {"alpha", "beta"} <= set(varied):
        yield "alpha and beta vary together: under Adam only their ratio has an effect"
    for name, other in (("beta", "alpha"), ("alpha", "beta")):
        if name in varied and other not in varied and given[other] == 0:
            yield f"{name} has no effect: {other} is 0, and Adam does not feel a loss's size"


def _of_border(varied: Ranges, given: Mapping[str, Any]) -> Iterator[str]:
    if "border_sigma_px" in varied and "border_weight" not in varied and not given["border_weight"]:
        yield "border_sigma_px has no effect: border_weight is 0"
    for name in ("border_weight", "border_sigma_px"):
        if name in varied and "beta" not in varied and given["beta"] == 0:
            yield (
                f"{name} has no effect: beta is 0, and pixel weights belong to the cross-entropy"
            )


def _least(varied: Ranges, given: Mapping[str, Any], name: str) -> Any:
    return min(varied[name].ends()) if name in varied else given[name]
