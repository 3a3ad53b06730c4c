"""`kidneyseg-search`: studies, from the first trial to the exported checkpoint."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices, storage_address
from kidneyseg.cores import count_cores
from kidneyseg.errors import CorrectableError, StudyError
from kidneyseg.runs import Runs, check_study_name
from kidneyseg.settings import Environment

if TYPE_CHECKING:
    from kidneyseg.cli.display import SearchDisplay
    from kidneyseg.ct.development import DevelopmentCases
    from kidneyseg.search.service import BegunStudy

app = typer.Typer(
    help="Search hyper-parameters for kidney segmentation in CT.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

StudyFile = Annotated[
    str,
    typer.Option("--study", help="studies/NAME.toml here, else as shipped, or a path."),
]
NTrials = Annotated[
    int, typer.Option("--n-trials", help="Finished trials (complete or pruned) in the end.")
]
StudyName = Annotated[
    str | None, typer.Option("--name", help="Name in the database. Default: the study file's.")
]


@app.command()
def run(
    study: StudyFile,
    n_trials: NTrials,
    workers: Annotated[
        int | None, typer.Option(help="Processes at once. Default: one per GPU, else one.")
    ] = None,
    set_: options.Set = None,
    name: StudyName = None,
    storage: options.Storage = None,
    data: options.Data = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Create a study or go on with it, and work until it holds N finished trials.

    Example: kidneyseg-search run --study lr_loss --n-trials 50
    """
    from kidneyseg.cli.display import elapsed_words, stderr_console

    start = time.monotonic()
    choices = Choices(environment, data, set_ or [])
    if workers is not None and workers < 1:
        raise CorrectableError(f"--workers {workers}: expected 1 or more")
    begun = _begin(study, n_trials, name, storage, choices)
    console = stderr_console()
    split = begun.cases.split
    console.print(
        f"{len(split.training)} training, {len(split.validation)} validation and "
        f"{len(split.test)} sealed test cases"
    )
    finished = _finished(begun)
    if finished >= n_trials:
        console.print(f"study {begun.study.name}: {finished} trials are finished; nothing to do")
    else:
        display = _display(begun, n_trials)
        with display.live():
            address = storage_address(storage, choices.runs)
            _work(begun, display, n_trials, workers, address)
    _summarize(begun, console.print)
    console.print(f"took {elapsed_words(start)}")


@app.command()
def worker(
    study: Annotated[
        str | None, typer.Option(help="Name in the database. Default: all with open trials.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, or cuda:0. Default: the environment's."),
    ] = None,
    storage: options.Storage = None,
    data: options.Data = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Join from any machine that reaches the database and the data.

    The settings that decide a result come from the study; folders come from this machine.

    Example: kidneyseg-search worker --study lr_loss --device cuda:0
    """
    from kidneyseg.cli.display import stderr_console
    from kidneyseg.cli.phantoms import with_data
    from kidneyseg.search.service import join_study
    from kidneyseg.search.storage import open_storage
    from kidneyseg.search.studies import study_names
    from kidneyseg.search.worker import work

    machine = with_data(Choices(environment, data, []).environment)
    runs = Runs(machine.common.runs)
    opened = open_storage(storage_address(storage, runs), create=False)
    console = stderr_console()
    for study_name in [study] if study else study_names(opened):
        try:
            begun = join_study(opened, study_name, machine)
        except StudyError as error:
            if study is not None:
                raise
            console.print(f"left out: {error}", markup=False)
            continue
        if study is None and _finished(begun) >= begun.study.n_trials:
            continue
        _prepare(begun.cases)
        display = _display(begun, begun.study.n_trials)
        workplace = begun.workplace(device or machine.common.device)
        with display.live(), closing(work(workplace)) as events:
            for event in events:
                display.show(event)
        _summarize(begun, console.print)


@app.command()
def submit(
    study: StudyFile,
    n_trials: NTrials,
    set_: options.Set = None,
    name: StudyName = None,
    storage: options.Storage = None,
    data: options.Data = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Create a study or raise its budget, and return; workers do the rest.

    Example: kidneyseg-search submit --study lr_loss --n-trials 100
    """
    choices = Choices(environment, data, set_ or [])
    begun = _begin(study, n_trials, name, storage, choices)
    typer.echo(
        f"study {begun.study.name}: {_finished(begun)} of {begun.study.n_trials} trials are "
        f"finished; join with kidneyseg-search worker --study {begun.study.name}"
    )


@app.command()
def status(
    study: Annotated[
        str | None, typer.Option(help="Name in the database. Default: every study.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds.")
    ] = False,
    as_json: options.Json = False,
    storage: options.Storage = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Show trials by state, the best so far, and who works on what.

    Example: kidneyseg-search status --study lr_loss --watch
    """
    from kidneyseg.cli.status_text import status_text
    from kidneyseg.search.status import read_status
    from kidneyseg.search.storage import open_storage
    from kidneyseg.search.studies import study_names

    runs = Choices(environment, None, []).runs
    opened = open_storage(storage_address(storage, runs), create=False)
    while True:
        found = [read_status(opened, each) for each in ([study] if study else study_names(opened))]
        if as_json:
            documents = [asdict(each) for each in found]
            typer.echo(json.dumps(documents[0] if study else documents))
        else:
            typer.echo("\n\n".join(status_text(each) for each in found) or "no study yet")
        if not watch:
            return
        time.sleep(2)
        if not as_json:
            typer.echo()


@app.command()
def export(
    study: options.Study,
    out: Annotated[Path, typer.Option(help="The model folder to write.")],
    trial: Annotated[int | None, typer.Option(help="A trial's number. Default: the best.")] = None,
    storage: options.Storage = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Write the best (or a given) trial's checkpoint as a model folder.

    Example: kidneyseg-search export --study lr_loss --out best/
    """
    from kidneyseg.search.export import export_trial
    from kidneyseg.search.storage import open_storage

    runs = Choices(environment, None, []).runs
    opened = open_storage(storage_address(storage, runs), create=False)
    exported = export_trial(opened, study, runs, out, trial)
    validation = exported.description.validation
    typer.echo(
        f"trial {exported.trial} of study {study}, validation Dice {validation.dice:.4f} in epoch "
        f"{validation.epoch}: written to {out}"
    )


@app.command()
def dashboard(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8080,
    storage: options.Storage = None,
    environment: options.EnvironmentName = "local",
) -> None:
    """Browse the trials in optuna-dashboard, on this machine, read-only.

    Example: kidneyseg-search dashboard --port 8080
    """
    from kidneyseg.search.dashboard import build_server, check_host
    from kidneyseg.search.storage import open_storage

    check_host(host, port)
    runs = Choices(environment, None, []).runs
    opened = open_storage(storage_address(storage, runs), create=False)
    with build_server(opened, host, port) as server:
        typer.echo(f"http://127.0.0.1:{server.server_port}/ shows {opened.address}; Ctrl-C ends")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def _begin(
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
        _prepare(find_development_cases(environment))  # data that fail leave no study behind
    begun = begin_study(opened, name or plan.name, plan, environment)
    begun.study.raise_budget(n_trials)
    _prepare(begun.cases)
    return begun


def _prepare(cases: "DevelopmentCases") -> None:
    from kidneyseg.cli.display import track

    for _ in track(cases.prepare(), "cases prepared", len(cases.cases)):
        pass


def _work(
    begun: "BegunStudy",
    display: "SearchDisplay",
    n_trials: int,
    workers: int | None,
    address: str,
) -> None:
    """Work here, or in as many processes as asked for."""
    import torch

    from kidneyseg.search.processes import WorkOrder, work_in_processes
    from kidneyseg.search.worker import work

    environment = begun.cases.environment
    devices = list(_devices(environment, workers))
    if len(devices) == 1:
        with closing(work(begun.workplace(devices[0]), n_trials)) as events:
            for event in events:
                display.show(event)
        return
    threads = max(1, count_cores() // len(devices))
    orders = [
        WorkOrder(
            study=begun.study.name,
            n_trials=n_trials,
            environment=environment,
            device=device,
            threads=threads if device == "cpu" else torch.get_num_threads(),
        )
        for device in devices
    ]
    with closing(work_in_processes(address, orders)) as told:
        for each in told:
            display.show(each.event)


def _devices(environment: Environment, workers: int | None) -> Iterator[str]:
    """The device of each worker: GPUs in turn, or the CPU."""
    import torch

    named = environment.common.device
    n_gpus = torch.cuda.device_count()
    for number in range(workers if workers is not None else max(1, n_gpus)):
        if named != "auto":
            yield named
        else:
            yield f"cuda:{number % n_gpus}" if n_gpus else "cpu"


def _display(begun: "BegunStudy", n_trials: int) -> "SearchDisplay":
    from kidneyseg.cli.display import SearchDisplay, stderr_console
    from kidneyseg.search.status import read_status

    status = read_status(begun.study.storage, begun.study.name)
    best = status.best.value if status.best else None
    return SearchDisplay(stderr_console(), n_trials, status.finished, best)


def _finished(begun: "BegunStudy") -> int:
    from kidneyseg.search.status import read_status

    return read_status(begun.study.storage, begun.study.name).finished


def _summarize(begun: "BegunStudy", say: Callable[[str], object]) -> None:
    from kidneyseg.cli.status_text import status_text
    from kidneyseg.search.status import read_status

    study = begun.study
    say(status_text(read_status(study.storage, study.name)))
