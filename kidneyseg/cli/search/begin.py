"""What `run`, `submit` and `worker` do alike: begin a study, prepare its data, show it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from kidneyseg.cli.options import Choices, storage_address
from kidneyseg.runs import check_study_name

if TYPE_CHECKING:
    from kidneyseg.cli.display import SearchDisplay
    from kidneyseg.ct.development import DevelopmentCases
    from kidneyseg.search.service import BegunStudy


def begin(
    study: str, n_trials: int, name: str | None, storage: str | None, choices: Choices
) -> "BegunStudy":
    """Check all that can be checked, then create the study or go on with it, and prepare data."""
    from kidneyseg.cli.phantoms import with_data
    from kidneyseg.ct.development import find_development_cases
    from kidneyseg.search.definition import load_plan
    from kidneyseg.search.service import begin_study, check_budget
    from kidneyseg.search.storage import open_storage
    from kidneyseg.search.studies import study_names
    from kidneyseg.search.without_effect import without_effect

    check_budget(n_trials)
    plan = load_plan(study, choices.hyperparameters)
    check_study_name(name or plan.name)
    for sentence in without_effect(plan, choices.environment):
        typer.echo(f"warning: {sentence}", err=True)
    opened = open_storage(storage_address(storage, choices.runs))
    environment = with_data(choices.environment)
    if (name or plan.name) not in study_names(opened):
        prepare(find_development_cases(environment))  # data that fail leave no study behind
    begun = begin_study(opened, name or plan.name, plan, environment)
    begun.study.raise_budget(n_trials)
    prepare(begun.cases)
    return begun


def prepare(cases: "DevelopmentCases") -> None:
    from kidneyseg.cli.display import track

    for _ in track(cases.prepare(), "cases prepared", len(cases.cases)):
        pass


def build_display(begun: "BegunStudy", n_trials: int) -> "SearchDisplay":
    from kidneyseg.cli.display import SearchDisplay, stderr_console
    from kidneyseg.search.status import read_status

    status = read_status(begun.study.storage, begun.study.name)
    best = status.best.value if status.best else None
    return SearchDisplay(stderr_console(), n_trials, status.finished, best)


def count_finished(begun: "BegunStudy") -> int:
    from kidneyseg.search.status import read_status

    return read_status(begun.study.storage, begun.study.name).finished


def summarize(begun: "BegunStudy", say: Callable[[str], object]) -> None:
    from kidneyseg.cli.status_text import status_text
    from kidneyseg.search.status import read_status

    study = begun.study
    say(status_text(read_status(study.storage, study.name)))
