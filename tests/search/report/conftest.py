"""Records of studies made by hand, without a database."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from kidneyseg.search.budget import State
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.ranges import Value
from kidneyseg.search.report.answer import find_answer
from kidneyseg.search.report.chapters import Material
from kidneyseg.search.study_record import StudyRecord, TrialRecord
from kidneyseg.search.study_status import StudyStatus
from kidneyseg.settings import Environment

HOSTILE = "</script><img src=x onerror=alert(1)>&"
OWN = {"learning_rate": 0.001, "beta": 0.5}  # the report's own values
WIDE = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "beta": {"type": "float", "low": 0.05, "high": 5.0, "log": True},
    "dropout": {"type": "float", "low": 0.0, "high": 0.5},
    "sampling": {"type": "categorical", "choices": ["uniform", "balanced"]},
    "network": {
        "filters": {"type": "int", "low": 8, "high": 64, "step": 8},
        "activation": {
            "type": "categorical",
            "choices": ["relu", "prelu"],
            "only_if": {"sampling": "uniform"},
        },
    },
}

BuildRecord = Callable[..., StudyRecord]


def complete(number: int, dice: float, **parts: Any) -> TrialRecord:
    """A complete trial whose curve climbs to `dice` in two epochs, on five cases."""
    offsets = (-0.01, -0.005, 0.0, 0.005, 0.01)
    of_case = {f"case_{k}": dice + offset for k, offset in enumerate(offsets)}
    values = {
        "params": {"learning_rate": 0.002, "beta": 0.5},
        "curve": {1: dice / 2, 2: dice},
        "best_epoch": 2,
        "dice_of_case": of_case,
        **parts,
    }
    return TrialRecord(number=number, state=State.COMPLETE, value=dice, **values)


def pruned(number: int, dice: float, **parts: Any) -> TrialRecord:
    """A trial that was given up after one epoch."""
    values = {"params": {"learning_rate": 0.05, "beta": 1.0}, "curve": {1: dice}, **parts}
    return TrialRecord(number=number, state=State.PRUNED, **values)


def failed(number: int, outcome: str) -> TrialRecord:
    params: dict[str, Value] = {"learning_rate": 0.1, "beta": 5.0}
    return TrialRecord(number=number, state=State.FAIL, outcome=outcome, params=params)


@pytest.fixture
def build_record(build_plan: Callable[..., StudyPlan], environment: Environment) -> BuildRecord:
    """Build a record of trials; `plan` are parts of the study file."""

    def build(
        trials: Sequence[TrialRecord],
        name: str = "tiny",
        space: dict[str, Any] | None = None,
        start_points: tuple[dict[str, Any], ...] = (),
        **parts: Any,
    ) -> StudyRecord:
        plan = build_plan(space, start_points)
        definition = plan.definition(environment, data="d" * 64, split="e" * 64)
        states = Counter(trial.state for trial in trials)
        status = StudyStatus(
            study=name,
            n_trials=len(trials),
            states={
                "complete": states[State.COMPLETE],
                "pruned": states[State.PRUNED],
                "running": 0,
                "waiting": 0,
                "failed": states[State.FAIL],
            },
            handed_back=0,
            best=None,
            workers=[],
            running=[],
            epochs=sum(len(trial.curve) for trial in trials),
            hours=1.5,
            saved_epochs=3,
            saved_hours=0.5,
            hours_left=0.0,
            stop=None,
            stop_now=False,
        )
        return StudyRecord(
            name=name, definition=definition, status=status, trials=tuple(trials), **parts
        )

    return build


@pytest.fixture(scope="session")
def as_material() -> Callable[..., Material]:
    """Make a page's material of a record."""

    def build(record: StudyRecord, **parts: Any) -> Material:
        made = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
        values = {"split": None, "why_no_pictures": "not wanted", **parts}
        return Material(record=record, answer=find_answer(record), made=made, **values)

    return build
