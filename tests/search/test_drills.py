"""Real workers, real signals, real databases: whatever happens, the study comes out right."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import optuna
import pytest
from optuna.trial import TrialState

from kidneyseg.environment_files import load_environment
from kidneyseg.errors import DiskFullError, KidneysegError
from kidneyseg.runs import STORAGE_VARIABLE
from kidneyseg.search import drill_crew
from kidneyseg.search.budget import OUTCOME, SURPLUS
from kidneyseg.search.drill import (
    Drill,
    begin_drill,
    drill_environment,
    find_last_attempts,
    run_drill,
)
from kidneyseg.search.drill_crew import Crew, Fault
from kidneyseg.search.drill_verdict import find_faults
from kidneyseg.search.drill_worker import DrillOrder
from kidneyseg.search.hand_back import ATTEMPT, MAX_ATTEMPTS, end_trial, reap_trial
from kidneyseg.search.identity import WorkerIdentity
from kidneyseg.search.service import BegunStudy
from kidneyseg.search.status import find_study_id
from kidneyseg.search.storage import open_storage
from kidneyseg.search.worker import work
from kidneyseg.settings import Environment
from tests.postgres_server import PostgresServer, new_server

pytestmark = pytest.mark.slow

Begin = Callable[[str, Environment, Drill], BegunStudy]
SMALL = Drill(n_trials=6, n_processes=2, workers_each=2, n_faults=4, pause_seconds=(0.5, 2.0))


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the phantoms of the drill, drawn once."""
    folder = tmp_path_factory.mktemp("drill")
    drill_environment(folder, load_environment("local", {}))
    return folder


@pytest.fixture
def environment(phantoms: Path, tmp_path: Path) -> Environment:
    tmp_path.joinpath("phantom").symlink_to(phantoms / "phantom")
    return drill_environment(tmp_path, load_environment("local", {}))


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Begin drills; close their databases in the end."""
    opened = []

    def build(address: str, environment: Environment, drill: Drill) -> BegunStudy:
        opened.append(open_storage(address))
        return begin_drill(opened[-1], environment, drill)

    yield build
    for storage in opened:
        storage.engine.dispose()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("seed", "processes"),
    [(1, 2), (2, 4), (3, 4)],
    ids=["4 workers", "8 workers", "8 workers, another seed"],
)
def test_killed_terminated_and_frozen_workers_leave_a_whole_study(
    address: str, environment: Environment, begin: Begin, seed: int, processes: int
) -> None:
    drill = replace(SMALL, seed=seed, n_processes=processes, n_trials=3 * processes)
    happened = [each.what for each in run_drill(begin(address, environment, drill), address, drill)]
    assert happened == [fault.value for fault in Fault]  # each fault did happen


@pytest.mark.usefixtures("one_thread")
def test_clocks_that_jump_and_time_zones_that_differ_change_nothing(
    address: str, environment: Environment, begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import random, time\n"
        "right = time.time\n"
        "time.time = lambda: right() + random.choice([-7200, 0, 7200])\n",
        encoding="utf-8",
    )
    drill = replace(SMALL, n_trials=4, n_faults=2, faults=(Fault.KILL, Fault.TERMINATE))
    variables = ({"TZ": "Asia/Tokyo", "PYTHONPATH": str(tmp_path)}, {"TZ": "America/Lima"})
    told = list(run_drill(begin(address, environment, drill), address, drill, variables=variables))
    assert len(told) == drill.n_faults


@pytest.mark.usefixtures("one_thread")
def test_a_cache_that_is_removed_meanwhile_is_prepared_again(
    sqlite_address: str, environment: Environment, begin: Begin
) -> None:
    begun = begin(sqlite_address, environment, SMALL)
    drill = replace(SMALL, n_trials=3, n_faults=2, faults=(Fault.KILL_TRAINING,))

    removed = []

    def remove() -> None:
        removed.append(True)
        for folder in begun.cases.cache.folder.glob("case_*"):
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()

    begun.study.ask_for(drill.n_trials)
    list(run_drill(begun, sqlite_address, replace(drill, n_trials=6), meanwhile=remove))
    assert removed == [True]
    assert list(begun.cases.cache.folder.glob("case_*"))


def test_a_verdict_names_what_is_wrong(
    sqlite_address: str, environment: Environment, begin: Begin
) -> None:
    begun = begin(sqlite_address, environment, SMALL)
    study = begun.study
    assert find_faults(study, 0) == []
    gap, running = study.optuna.ask(), study.optuna.ask()
    gap.report(0.1, 1)
    gap.report(0.3, 3)
    study.optuna.tell(gap, 0.3)
    lost = study.optuna.ask()
    end_trial(study, lost._trial_id, "handed back: its worker died")
    found = find_faults(study, 5)
    assert found == [
        "1 finished trials; expected exactly 5",
        f"trial {running.number} is still running",
        f"trial {lost.number} was handed back, and nobody went on with it",
        f"trial {gap.number} has epochs [1, 3]",
        f"trial {gap.number} has 0 rows of epochs",
    ]


def test_a_trial_that_died_3_times_is_a_fault_though_another_replaces_it(
    sqlite_address: str, environment: Environment, begin: Begin
) -> None:
    study = begin(sqlite_address, environment, SMALL).study
    for _ in range(MAX_ATTEMPTS):
        trial = study.optuna.ask()
        study.definition.draw(trial)
        reap_trial(study, trial._trial_id)
    end_trial(study, study.optuna.ask()._trial_id, SURPLUS)
    study.optuna.tell(study.optuna.ask(), state=TrialState.PRUNED)
    assert find_faults(study, 1) == ["trial 2 failed: its worker died, 3 times"]


def test_whoever_trains_a_trial_at_its_last_attempt_is_spared(
    sqlite_address: str,
    environment: Environment,
    begin: Begin,
    begin_trial: Callable[..., optuna.Trial],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = begin(sqlite_address, environment, SMALL).study
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    worker = str(replace(WorkerIdentity.mine(), pid=process.pid))
    trial = begin_trial(study, worker=worker)
    assert find_last_attempts(study) == set()
    trial.set_user_attr(ATTEMPT, MAX_ATTEMPTS)
    begin_trial(study, worker=str(WorkerIdentity.mine()))
    assert find_last_attempts(study) == {process.pid}
    order = DrillOrder(study=study.name, environment=environment, workers=1)
    crew, chance = Crew(order, sqlite_address, 0, ({},)), Random(0)
    monkeypatch.setattr(crew, "_processes", [process])
    monkeypatch.setattr(drill_crew, "_trainings", lambda _: [object()])
    assert not crew.strike(Fault.KILL, chance, spared={process.pid})
    assert process.poll() is None
    assert crew.strike(Fault.KILL, chance, spared=set())
    assert process.wait(10) == -signal.SIGKILL


def test_a_drill_that_goes_wrong_says_so(
    sqlite_address: str, environment: Environment, begin: Begin
) -> None:
    drill = replace(SMALL, n_trials=1, n_processes=1, workers_each=1, n_faults=0)
    begun = begin(sqlite_address, environment, drill)
    for dice in (0.1, 0.2):
        study = begun.study.optuna
        study.tell(study.ask(), dice, TrialState.COMPLETE)
    with pytest.raises(KidneysegError, match="2 finished trials; expected exactly 1"):
        list(run_drill(begun, sqlite_address, drill))


COMMAND = [
    *(sys.executable, "-c"),
    "import sys; from kidneyseg.cli.main import kidneyseg_search as p; sys.exit(p())",
]
TINY = ["--set=data.downsampling=2", "--set=data.slice_size=[32,32]", "--set=network.filters=4"]


@pytest.fixture
def run_here(
    tiny_data: Path, tmp_path: Path, one_thread: None
) -> Callable[..., "subprocess.Popen[str]"]:
    """Start `kidneyseg-search run` in a folder of the test's own."""

    def start(address: str, *more: str) -> "subprocess.Popen[str]":
        arguments = ["run", "--study", "lr_loss", "--data", str(tiny_data), *TINY, *more]
        return subprocess.Popen(
            [*COMMAND, *arguments, "--set=training.max_epochs=3"],
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=tmp_path,
            env={**os.environ, STORAGE_VARIABLE: address},
        )

    return start


def test_two_runs_started_at_the_same_instant_on_an_empty_database_share_the_study(
    bare_address: str, run_here: Callable[..., "subprocess.Popen[str]"]
) -> None:
    both = [run_here(bare_address, "--n-trials", "4") for _ in range(2)]
    said = [process.communicate(timeout=200)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    storage = open_storage(bare_address)
    study_id = find_study_id(storage, "lr_loss")
    states = [trial.state.name for trial in storage.optuna.get_all_trials(study_id)]
    storage.engine.dispose()
    assert states.count("COMPLETE") + states.count("PRUNED") == 4


@pytest.mark.postgres
def test_a_database_that_is_away_for_longer_than_the_grace_period_costs_nothing(
    own_server: PostgresServer, run_here: Callable[..., "subprocess.Popen[str]"]
) -> None:
    grace = "--set=common.grace_seconds=10"
    both = [
        run_here(own_server.address, "--n-trials", "8", "--workers", "2", grace) for _ in range(2)
    ]
    for process in both:
        _wait_for_line(process, "epoch 1/")
    own_server.stop()
    time.sleep(16)
    assert [process.poll() for process in both] == [None, None]
    own_server.start()
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    storage = open_storage(own_server.address)
    trials = storage.optuna.get_all_trials(1)
    storage.engine.dispose()
    outcomes = [str(trial.user_attrs.get(OUTCOME, SURPLUS)) for trial in trials]
    assert [outcome for outcome in outcomes if not outcome.startswith("surplus")] == []
    assert sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials) == 8


@pytest.mark.postgres
def test_a_database_that_stays_away_ends_with_1_and_keeps_the_checkpoint(
    own_server: PostgresServer, run_here: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process = run_here(own_server.address, "--n-trials", "2", "--set=common.patience_minutes=0.05")
    _wait_for_line(process, "epoch 1/")
    own_server.stop()
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 1, said
    assert "lost in the middle of the work" in said.splitlines()[-1]
    assert own_server.password not in said
    assert list(tmp_path.glob("runs/lr_loss/trial_00000/checkpoints/*.safetensors"))
    started = run_here(own_server.address, "--n-trials", "2")
    assert "expected a database that can be reached" in started.communicate(timeout=60)[1]
    assert started.returncode == 2


@pytest.mark.postgres
def test_a_database_that_hangs_does_not_hold_a_worker_that_was_asked_to_stop(
    own_server: PostgresServer, run_here: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = run_here(own_server.address, "--n-trials", "2", "--set=training.patience=3")
    _wait_for_line(process, "epoch 1/")
    own_server.freeze()
    try:
        time.sleep(1)
        process.terminate()
        said = process.communicate(timeout=90)[1]
    finally:
        own_server.thaw()
    assert process.returncode == 143, said
    assert "Traceback" not in said


@pytest.mark.usefixtures("one_thread")
def test_a_disk_that_is_full_ends_with_the_reason_and_room_on_it_goes_on(
    sqlite_address: str, environment: Environment, begin: Begin, small_disk: Path
) -> None:
    runs = environment.common.model_copy(update={"runs": small_disk})
    filler = small_disk / "filler"
    drill = replace(SMALL, n_trials=2, n_faults=0, n_processes=1, workers_each=1)
    full = environment.model_copy(update={"common": runs})
    begun = begin(sqlite_address, full, drill)
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    with pytest.raises(DiskFullError, match=r"the disk is full .*No space left.*free some room"):
        list(work(begun.workplace("cpu"), 2))
    trials = begun.study.optuna.trials
    assert [trial.state.name for trial in trials] == ["FAIL", "WAITING"]
    assert trials[0].user_attrs["outcome"].startswith("handed back")
    filler.unlink()
    begun.study.ask_for(2)
    list(run_drill(begun, sqlite_address, drill))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a file system of its own, of 6 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("a small file system cannot be mounted here: needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _wait_for_line(process: "subprocess.Popen[str]", words: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"ended without {words!r}")


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """Give a running server that the test may stop."""
    with new_server() as server:
        yield server
