"""What `run`, `submit` and `worker` do alike: begin a study, prepare its data, show it."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import cycle, islice
from typing import TYPE_CHECKING

from kidneyseg.cli.options import Choices, storage_address
from kidneyseg.cli.telling import chosen_log, say, tell_of, warn
from kidneyseg.errors import CorrectableError, StudyStoppedError
from kidneyseg.runs import check_study_name

if TYPE_CHECKING:
    from kidneyseg.cli.display import SearchDisplay
    from kidneyseg.ct.development import DevelopmentCases
    from kidneyseg.search.metrics import SearchMetrics
    from kidneyseg.search.service import BegunStudy
    from kidneyseg.search.storage import Storage
    from kidneyseg.settings import Environment


def begin(
    study: str, n_trials: int, name: str | None, storage: str | None, choices: Choices
) -> "BegunStudy":
    """Check all that can be checked, then create the study or go on with it, and prepare data."""
    from kidneyseg.cli.phantoms import with_data
    from kidneyseg.ct.development import find_development_cases
    from kidneyseg.search.definition import load_plan
    from kidneyseg.search.grid import check_grid
    from kidneyseg.search.service import begin_study, check_budget, check_pseudonyms
    from kidneyseg.search.storage import open_storage
    from kidneyseg.search.studies import study_names
    from kidneyseg.search.without_effect import without_effect

    check_budget(n_trials)
    plan = load_plan(study, choices.hyperparameters, choices.settings)
    check_study_name(name or plan.name)
    tell_of(name or plan.name)
    check_grid(plan.definition(choices.environment, data="", split=""), plan.name, n_trials)
    for sentence in without_effect(plan, choices.environment):
        warn(sentence)
    opened = open_storage(storage_address(storage, choices.runs))
    check_pseudonyms(opened, name or plan.name, choices.environment)
    environment = with_data(choices.environment)
    if (name or plan.name) not in study_names(opened):
        prepare(find_development_cases(environment))  # data that fail leave no study behind
    begun = begin_study(opened, name or plan.name, plan, environment)
    tell_of(begun.study.name, begun.cases.names.scrub)
    begun.study.ask_for(n_trials)
    warn(begun.cases.warning)
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


def summarize(begun: "BegunStudy") -> None:
    from kidneyseg.cli.status_text import status_text
    from kidneyseg.search.status import read_status

    study = begun.study
    say(status_text(read_status(study.storage, study.name)))


def join(opened: "Storage", name: str, machine: "Environment") -> "BegunStudy":
    """Join a study that is in the database, and prepare its data."""
    from kidneyseg.search.service import join_study

    begun = join_study(opened, name, machine)
    prepare(begun.cases)
    return begun


def work_here(
    begun: "BegunStudy",
    devices: Sequence[str],
    n_trials: int | None,
    metrics: "SearchMetrics | None" = None,
) -> None:
    """Work on a study with a worker on every device given; show it, and count it."""
    from kidneyseg.search.disk import check_disk, largest_network
    from kidneyseg.search.events import Stopped
    from kidneyseg.search.workers import work_together
    from kidneyseg.training.device import find_device, slow_precision

    check_disk(
        begun.cases.environment.common,
        begun.study.name,
        largest_network(begun.study.definition),
        len(devices),
    )
    budget = begun.study.n_trials if n_trials is None else n_trials
    display = chosen_log() or build_display(begun, budget)
    workplaces = [
        begun.workplace(device, place, len(devices)) for place, device in enumerate(devices)
    ]
    training = begun.study.definition.settings.training
    told_once = {
        slow_precision(training.precision, find_device(place.device)) for place in workplaces
    }
    for sentence in told_once:
        warn(sentence)
    stopped = None
    with (
        display.live(),
        counting(metrics, begun),
        closing(work_together(workplaces, n_trials)) as told,
    ):
        for each in told:
            display.show(each.event, each.worker)
            if metrics is not None:
                metrics.count(begun.study.name, each.event)
            if isinstance(each.event, Stopped):
                stopped = each.event.reason
    if stopped is not None:
        raise StudyStoppedError(
            f"study {begun.study.name!r} was stopped: {stopped}; kidneyseg-search run goes on"
        )


@contextmanager
def counting(metrics: "SearchMetrics | None", begun: "BegunStudy") -> Iterator[None]:
    """What runs no more is not counted as running, however the work ends."""
    try:
        yield
    finally:
        if metrics is not None:
            metrics.leave(begun.study.name)


def choose_devices(named: str, workers: int | None, workers_per_gpu: int) -> list[str]:
    """The device of each worker: every GPU in turn, or the CPU; or all on the one that is named.

    By default one worker, or `workers_per_gpu` on every GPU. Raises CorrectableError.
    """
    import torch

    for option, number in (("--workers", workers), ("--workers-per-gpu", workers_per_gpu)):
        if number is not None and number < 1:
            raise CorrectableError(f"{option} {number}: expected 1 or more")
    n_gpus = torch.cuda.device_count() if named == "auto" else 0
    gpus = [f"cuda:{number}" for number in range(n_gpus)]
    usual = gpus * workers_per_gpu or [named if named != "auto" else "cpu"]
    return list(islice(cycle(usual), workers)) if workers is not None else usual
