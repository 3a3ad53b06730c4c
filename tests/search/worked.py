"""What workers told of their trials, and what the database holds of them."""

from collections.abc import Iterator

from kidneyseg.search.budget import OUTCOME
from kidneyseg.search.events import Event, TrialFinished
from kidneyseg.search.objective import Workplace


def states(workplace: Workplace) -> list[str]:
    """Give the states of the study's trials, by number."""
    return [trial.state.name for trial in workplace.study.optuna.trials]


def outcomes(workplace: Workplace) -> list[str | None]:
    """Give why the study's trials ended, by number."""
    return [trial.user_attrs.get(OUTCOME) for trial in workplace.study.optuna.trials]


def finished(events: Iterator[Event]) -> list[TrialFinished]:
    """Give the ends of trials among what a worker tells."""
    return [event for event in events if isinstance(event, TrialFinished)]
