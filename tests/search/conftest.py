"""Studies of tiny trials, on SQLite and on a PostgreSQL server of the tests' own."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import psutil
import psycopg
import pytest
from sqlalchemy import insert, make_url

from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.description import ModelDescription, Validation
from kidneyseg.model.folder import save_model
from kidneyseg.network import build_quicknat
from kidneyseg.provenance import Provenance
from kidneyseg.search import guarded_trial, worker
from kidneyseg.search.definition import StudyFile, StudyPlan
from kidneyseg.search.events import EpochFinished, TrialStarted
from kidneyseg.search.identity import WorkerIdentity
from kidneyseg.search.identity import _started as identify_start
from kidneyseg.search.objective import BEST_EPOCH, Workplace, _order
from kidneyseg.search.pruner_settings import NoPruner
from kidneyseg.search.service import begin_study
from kidneyseg.search.space import parse_space
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.studies import Study, open_study
from kidneyseg.search.tables import leases
from kidneyseg.search.trial_order import TrialOrder
from kidneyseg.settings import DataSettings, Environment, NetworkSettings
from tests.postgres_server import new_server

SPACE = {
    "learning_rate": {"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
    "beta": {"type": "float", "low": 0.05, "high": 5.0, "log": True},
}
MANY = 99  # workers of one machine: so each has one thread, the fastest for tiny trials


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """Give the address of a PostgreSQL database from which others can be made.

    KIDNEYSEG_TEST_POSTGRES where it is set, else a server of this machine's own programs.
    """
    if given := os.environ.get("KIDNEYSEG_TEST_POSTGRES"):
        yield given
        return
    with new_server() as server:
        yield server.address


@contextmanager
def new_database(server: str, template: str = "template1") -> Iterator[str]:
    """Make a database on a PostgreSQL server, drop it in the end."""
    name = f"kidneyseg_test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def postgres_template(postgres_address: str) -> Iterator[str]:
    """Give the name of a database that holds all tables and no study."""
    with new_database(postgres_address) as address:
        open_storage(address).engine.dispose()
        yield str(make_url(address).database)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file that holds all tables and no study."""
    path = tmp_path_factory.mktemp("template") / "studies.db"
    open_storage(f"sqlite:///{path}").engine.dispose()
    return path


@pytest.fixture
def postgres_database(postgres_address: str, postgres_template: str) -> Iterator[str]:
    """Give the address of a PostgreSQL database without studies."""
    with new_database(postgres_address, postgres_template) as address:
        yield address


@pytest.fixture
def sqlite_address(sqlite_template: Path, tmp_path: Path) -> str:
    """Give the address of a SQLite file without studies."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path)}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def address(request: pytest.FixtureRequest) -> str:
    """Give the address of a database without studies, of either kind."""
    kind = {"sqlite": "sqlite_address", "postgres": "postgres_database"}[request.param]
    address: str = request.getfixturevalue(kind)
    return address


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def bare_address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the address of a database, of either kind, in which nothing was ever made."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'bare.db'}"
        return
    with new_database(request.getfixturevalue("postgres_address")) as address:
        yield address


@pytest.fixture
def storage(sqlite_address: str) -> Iterator[Storage]:
    """Give an open SQLite database."""
    opened = open_storage(sqlite_address)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def either_storage(address: str) -> Iterator[Storage]:
    """Give an open database of either kind."""
    opened = open_storage(address)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def environment(environment_in: Callable[[Path], Environment], tmp_path: Path) -> Environment:
    """Give settings of the tiny data, with a runs folder of the test's own."""
    return environment_in(tmp_path / "runs")


@pytest.fixture(scope="session")
def build_plan() -> Callable[..., StudyPlan]:
    """Build a plan that draws learning rate and beta, with parts of the study file replaced."""

    def build(
        space: dict[str, Any] | None = None,
        start_points: tuple[dict[str, Any], ...] = ({"learning_rate": 0.01, "beta": 0.5},),
        **file: Any,
    ) -> StudyPlan:
        values = {
            "search_space": "tiny",
            "sampler": {"name": "random"},
            "pruner": NoPruner(name="none"),
            **file,
        }
        return StudyPlan(
            name="tiny",
            file=StudyFile.model_validate(values),
            space=parse_space(SPACE if space is None else space, "space.toml"),
            fixed={"batch_size": 8},
            start_points=start_points,
        )

    return build


@pytest.fixture
def build_workplace(
    environment: Environment, build_plan: Callable[..., StudyPlan]
) -> Callable[..., Workplace]:
    """Create the study `tiny` in a database, or go on with it; give a place to work on it."""

    def build(storage: Storage, plan: StudyPlan | None = None) -> Workplace:
        begun = begin_study(storage, "tiny", plan or build_plan(), environment)
        return begun.workplace("cpu", n_workers=MANY)

    return build


def fake_trial(
    workplace: Workplace, trial: optuna.Trial
) -> Generator[TrialStarted | EpochFinished, None, None]:
    """Draw, report two epochs and tell, as `run_trial` does, without a training."""
    beta = workplace.study.definition.draw(trial).hyperparameters.beta
    yield TrialStarted(trial=trial.number, hyperparameters=dict(trial.params))
    dice = 1 / (1 + beta)
    for epoch in (1, 2):
        trial.report(dice * epoch / 2, epoch)
        yield EpochFinished(
            trial=trial.number,
            epoch=epoch,
            max_epochs=2,
            dice=dice * epoch / 2,
            best_dice=dice * epoch / 2,
            loss=1.0,
            seconds=0.0,
        )
    trial.set_user_attr(BEST_EPOCH, 2)
    workplace.study.optuna.tell(trial, dice)


@pytest.fixture
def many_epochs(environment: Environment) -> Environment:
    """Give settings of trials that take long enough to have a middle."""
    training = environment.training.model_copy(update={"max_epochs": 8, "patience": 99})
    return environment.model_copy(update={"training": training})


@pytest.fixture
def long_trials(
    many_epochs: Environment, build_plan: Callable[..., StudyPlan]
) -> Callable[..., Workplace]:
    """Create the study `tiny` of long trials, or go on with it; give a place to work on it."""

    def build(storage: Storage, plan: StudyPlan | None = None) -> Workplace:
        begun = begin_study(storage, "tiny", plan or build_plan(), many_epochs)
        return begun.workplace("cpu", n_workers=MANY)

    return build


@pytest.fixture
def build_order() -> Callable[..., TrialOrder]:
    """Order the training of a trial's hyper-parameters, with parts of the order replaced."""

    def build(workplace: Workplace, trial: optuna.Trial, **parts: Any) -> TrialOrder:
        order = _order(workplace, trial.number, workplace.study.definition.draw(trial))
        return order.model_copy(update=parts)

    return build


@pytest.fixture(scope="session")
def begin_trial() -> Callable[..., optuna.Trial]:
    """Begin a trial of a study, with a lease of `worker`, as far as its hyper-parameters."""

    def begin(study: Study, worker: str | None = None) -> optuna.Trial:
        trial = study.optuna.ask()
        study.definition.draw(trial)
        if worker is not None:
            row = {"trial_id": trial._trial_id, "worker": worker, "beat": 0}
            study.storage.change(insert(leases).values(row))
        return trial

    return begin


@pytest.fixture(scope="session")
def dead_worker() -> WorkerIdentity:
    """Identify a worker of this machine whose process ran and ended."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        identity = replace(
            WorkerIdentity.mine(),
            pid=process.pid,
            started=identify_start(psutil.Process(process.pid)),
        )
        process.kill()
    return identity


@pytest.fixture(scope="session")
def trainers() -> Callable[[], list[psutil.Process]]:
    """Find the processes that train for this one: children of its server of processes."""

    def find() -> list[psutil.Process]:
        servers = [c for c in psutil.Process().children() if "forkserver" in " ".join(c.cmdline())]
        children = [child for server in servers for child in server.children()]
        return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]

    return find


@pytest.fixture
def quick_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers run trials that train nothing."""
    monkeypatch.setattr(guarded_trial, "run_trial", fake_trial)
    monkeypatch.setattr(guarded_trial, "TWIN_POLL_SECONDS", 0.01)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)


@pytest.fixture
def study(
    storage: Storage, build_plan: Callable[..., StudyPlan], environment: Environment
) -> Study:
    """Give the study `tiny` in a SQLite database, of data that are not there."""
    definition = build_plan().definition(environment, data="d" * 64, split="e" * 64)
    return open_study(storage, "tiny", definition)


@pytest.fixture
def either_study(
    either_storage: Storage, build_plan: Callable[..., StudyPlan], environment: Environment
) -> Study:
    """Give the study `tiny` in a database of either kind, of data that are not there."""
    definition = build_plan().definition(environment, data="d" * 64, split="e" * 64)
    return open_study(either_storage, "tiny", definition)


@pytest.fixture(scope="session")
def save_a_model() -> Callable[[Path, float], Path]:
    """Save a model folder of the smallest network, with the validation Dice given."""
    settings = NetworkSettings(filters=2, kernel_size=1)
    provenance = Provenance(data="d", split="e", code="f", versions={}, seed=0, device="", host="")

    def save(folder: Path, dice: float) -> Path:
        description = ModelDescription(
            format=1,
            network=settings,
            preprocessing=DataSettings(downsampling=2, slice_size=(32, 32)),
            threshold=0.5,
            hyperparameters=Hyperparameters(),
            validation=Validation(
                epoch=1, dice=dice, dice_of_case={"a": dice}, loss=1.0, small_batch_size=4
            ),
            provenance=provenance,
            weights_sha256="",
        )
        save_model(folder, build_quicknat(settings, dropout=0.0), description)
        return folder

    return save
