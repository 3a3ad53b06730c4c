"""What a study found, in numbers: the best trial, its gain, and which others may be as good.

Trials are compared on the same validation cases. How sure a mean over cases is, is told by
Student's t-interval. Percentiles of resampled means, which need no formula, are too narrow for as
few cases as a search often has: of ten, about one interval in ten misses, not one in twenty.
Neither knows anything of other seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from kidneyseg.errors import StudyError
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.search.ranges import Value
from kidneyseg.search.space import given_values
from kidneyseg.search.study_record import StudyRecord, TrialRecord
from kidneyseg.settings import NetworkSettings

CONFIDENCE = 0.95
MIN_CASES = 5  # of fewer, the spread itself is hardly known

OWN = "the report's own values"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over cases and its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        """Whether it reaches zero: a difference that was not shown."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The trial that the best one is measured against."""

    trial: TrialRecord
    name: str  # whose values it has, for people


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a study found."""

    best: TrialRecord
    dice: Estimate | None  # None: too few cases, or their Dice is not known
    reference: Reference | None
    gain: Estimate | None  # the best trial's Dice minus the reference's
    behind: dict[int, Estimate]  # the best trial's Dice minus that of each other, by number

    @property
    def gain_mean(self) -> float | None:
        """The gain, with or without an interval."""
        if self.reference is None or self.reference.trial.dice is None:
            return None
        return (self.best.value or 0.0) - self.reference.trial.dice

    @property
    def alike(self) -> tuple[int, ...]:
        """The numbers of trials that cannot be told from the best one."""
        return tuple(number for number, each in self.behind.items() if each.holds_zero)


def find_answer(record: StudyRecord) -> Answer:
    """Find what a study found. Raises StudyError for one without a complete trial."""
    best = record.best
    if best is None:
        told = ", ".join(f"{n} {state}" for state, n in record.status.states.items() if n)
        raise StudyError(
            f"study {record.name!r}: no complete trial to report ({told or 'no trial at all'}); "
            "run more trials"
        )
    others = [trial for trial in record.complete if trial is not best and trial.copy_of is None]
    reference = _reference(record)
    gain = None if reference is None else _behind(best, [reference.trial])
    return Answer(
        best=best,
        dice=_estimate(list(best.dice_of_case.values())),
        reference=reference,
        gain=None if reference is None or not gain else gain[reference.trial.number],
        behind=_behind(best, others),
    )


def report_values(record: StudyRecord) -> dict[str, Value]:
    """The report's own value of everything that varies in a study, by name."""
    own = given_values(Hyperparameters().model_dump(), NetworkSettings())
    return {name: own[name] for name in record.definition.space.names() if name in own}


def _reference(record: StudyRecord) -> Reference | None:
    """The first finished trial with the report's own values, else with a start point's."""
    points = record.definition.start_points
    named = [(OWN, report_values(record))]
    named += [(_start_point(place, len(points)), point) for place, point in enumerate(points, 1)]
    for name, values in named:
        for trial in record.finished:
            if values and trial.copy_of is None and _has(trial, values, whole=name == OWN):
                return Reference(trial=trial, name=name)
    return None


def _start_point(place: int, of: int) -> str:
    return "the study's start point" if of == 1 else f"the study's start point {place}"


def _has(trial: TrialRecord, values: dict[str, Value], *, whole: bool) -> bool:
    """Whether a trial drew these values; with `whole`, no value but these."""
    names = trial.params if whole else values
    return bool(names) and all(
        name in trial.params and name in values and trial.params[name] == values[name]
        for name in names
    )


def _estimate(dice: Sequence[float]) -> Estimate | None:
    if len(dice) < MIN_CASES:
        return None
    (found,) = _estimates(np.array([dice], dtype=np.float64))
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))  # a Dice


def _behind(best: TrialRecord, others: Sequence[TrialRecord]) -> dict[int, Estimate]:
    """How far others are behind, by number; those with Dice of other cases are left out."""
    cases = list(best.dice_of_case)  # not sorted: under other names it is the same order
    if len(cases) < MIN_CASES:
        return {}
    same = [trial for trial in others if trial.dice_of_case.keys() == best.dice_of_case.keys()]
    if not same:
        return {}
    mine = np.array([best.dice_of_case[case] for case in cases])
    theirs = np.array([[trial.dice_of_case[case] for case in cases] for trial in same])
    estimates = _estimates(mine - theirs)
    return {trial.number: each for trial, each in zip(same, estimates, strict=True)}


def _estimates(figures: NDArray[np.float64]) -> list[Estimate]:  # of (trials, cases)
    """Mean and interval of each row."""
    n_cases = figures.shape[1]
    means = figures.mean(axis=1)
    errors = figures.std(axis=1, ddof=1) / np.sqrt(n_cases)
    halves = errors * student.ppf((1 + CONFIDENCE) / 2, n_cases - 1)
    return [
        Estimate(mean=float(mean), low=float(mean - half), high=float(mean + half))
        for mean, half in zip(means, halves, strict=True)
    ]
