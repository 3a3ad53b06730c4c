"""The grid: every combination of a search space once, whoever draws it and however trials end.

A trial claims its point when it begins, and the claim is on the trial from then on. A point whose
trial failed is free again; one that was handed back stays with its copy.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from kidneyseg.errors import CorrectableError
from kidneyseg.search.budget import HANDED_BACK, OUTCOME
from kidneyseg.search.definition import StudyDefinition
from kidneyseg.search.lineage import lineage
from kidneyseg.search.places import FIXED
from kidneyseg.search.ranges import Value
from kidneyseg.search.sampler_settings import Grid
from kidneyseg.search.space import SearchSpace

CLAIM = "kidneyseg grid point"  # Optuna's system attribute: a trial's point

Point = dict[str, Value]
Key = tuple[tuple[str, Any], ...]


def most_trials(definition: StudyDefinition) -> int | None:
    """The largest budget that a study has points for; None where there is no end of them."""
    return len(grid_points(definition)) if isinstance(definition.sampler, Grid) else None


def check_grid(definition: StudyDefinition, study: str, n_trials: int) -> None:
    """Refuse more trials than a grid has points. Raises CorrectableError."""
    most = most_trials(definition)
    if most is not None and n_trials > most:
        raise CorrectableError(
            f"--n-trials {n_trials}: the grid of study {study} has {most} points; expected at "
            f"most {most}"
        )


def grid_points(definition: StudyDefinition) -> list[Point]:
    """All points, the start points' first, the others in an order of the study's seed."""
    points = list(_combinations(definition.space, definition.given))
    order = np.random.default_rng(definition.seed).permutation(len(points))
    shuffled = [points[index] for index in order]
    first = []
    for start in definition.start_points:
        point = next((p for p in shuffled if p not in first and start.items() <= p.items()), None)
        first += [] if point is None else [point]
    return first + [point for point in shuffled if point not in first]


def claim_point(points: Sequence[Point], study: optuna.Study, trial: FrozenTrial) -> None:
    """Choose a trial's point among `points` and note it on the trial, once."""
    if claimed_point(study, trial):
        return
    others = [each for each in study.get_trials(deepcopy=False) if each.number != trial.number]
    taken = _taken(others)
    free = [point for point in points if _key(point) not in taken]
    # Those that began before this one and have yet to choose take the first that are free.
    undecided = sum(_is_undecided(each) for each in others if each.number < trial.number)
    if free:
        claim = free[min(undecided, len(free) - 1)]
        study._storage.set_trial_system_attr(trial._trial_id, CLAIM, claim)


def claimed_point(study: optuna.Study, trial: FrozenTrial) -> Point:
    """The point that a trial chose; none where it has not, or nothing was left."""
    point: Point = study._storage.get_trial_system_attrs(trial._trial_id).get(CLAIM, {})
    return point


def _combinations(space: SearchSpace, given: Mapping[str, Any]) -> list[Point]:
    """Every combination; what a condition leaves out of one is no part of it."""
    points: list[Point] = [{}]
    for name, range_ in space.root.items():
        grown: list[Point] = []
        for point in points:
            applies = range_.applies({**given, **point})
            grown += [{**point, name: v} for v in range_.values() or ()] if applies else [point]
        points = grown
    return points


def _taken(trials: Sequence[FrozenTrial]) -> set[Key]:
    """The points that somebody tries, has tried, or will go on with."""
    copied = {lineage(trial)[-1] for trial in trials if lineage(trial)}
    return {
        _key({**trial.system_attrs.get(FIXED, {}), **trial.system_attrs.get(CLAIM, trial.params)})
        for trial in trials
        if trial.state != TrialState.FAIL or _is_in_hand(trial, copied)
    }


def _is_in_hand(trial: FrozenTrial, copied: set[int]) -> bool:
    """Whether a failed trial was handed back and its copy is not in line yet."""
    handed_back = str(trial.user_attrs.get(OUTCOME, "")).startswith(HANDED_BACK)
    return handed_back and trial.number not in copied


def _is_undecided(trial: FrozenTrial) -> bool:
    attributes = trial.system_attrs
    return not trial.state.is_finished() and CLAIM not in attributes and FIXED not in attributes


def _key(point: Mapping[str, Any]) -> Key:
    return tuple(sorted(point.items()))
