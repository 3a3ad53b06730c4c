"""A drill on one's own machine, database and folder: workers are killed at random moments.

Tiny trainings on phantoms, real processes, real signals. At the end the study must hold exactly the
trials asked for, none of them failed, each with its curve whole, and no epoch that was finished
trained twice. Who trains a trial at its last attempt is spared: a third death is for it to fail.
"""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import TrialState
from sqlalchemy import select

from kidneyseg.errors import KidneysegError
from kidneyseg.phantom.data_set import write_phantoms
from kidneyseg.phantom.drawing import PhantomSize
from kidneyseg.search.definition import StudyFile, StudyPlan
from kidneyseg.search.drill_crew import Crew, Fault, drill_crew
from kidneyseg.search.drill_verdict import find_faults
from kidneyseg.search.drill_worker import DrillOrder
from kidneyseg.search.hand_back import ATTEMPT, MAX_ATTEMPTS
from kidneyseg.search.identity import WorkerIdentity
from kidneyseg.search.service import BegunStudy, begin_study
from kidneyseg.search.space import parse_space
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import Study
from kidneyseg.search.tables import leases
from kidneyseg.settings import Environment

SPACE = {
    "learning_rate": {"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
    "beta": {"type": "float", "low": 0.05, "high": 5.0, "log": True},
}
N_PHANTOMS = 5
GRACE_SECONDS = 6.0
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """How much is drilled, and how hard."""

    n_trials: int = 10
    n_processes: int = 3
    workers_each: int = 2
    pause_seconds: tuple[float, float] = (1.0, 4.0)  # between two faults
    n_faults: int = 8
    faults: tuple[Fault, ...] = tuple(Fault)
    seed: int = 0
    most_seconds: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """Something that happened in a drill, for people."""

    what: str


def drill_environment(folder: Path, machine: Environment) -> Environment:
    """The smallest trainings that are trainings, on phantoms made below `folder`."""
    data = folder / "phantom"
    if not data.is_dir():
        for _ in write_phantoms(data, N_PHANTOMS, seed=0, size=PhantomSize.SMALL):
            pass
    values = {
        "data": {"folder": data, "spacing_mm": 12.0, "slice_size": (32, 32)},
        "network": {"filters": 4, "kernel_size": 3},
        "training": {"max_epochs": 4, "patience": 4, "small_batch_size": 16},
        "common": {
            "runs": folder,
            "device": machine.common.device,
            "pictures": False,
            "grace_seconds": GRACE_SECONDS,
        },
    }
    return Environment.model_validate(values)


def begin_drill(storage: Storage, environment: Environment, drill: Drill) -> BegunStudy:
    """Create the drill's study and prepare its slices."""
    file = {"search_space": "drill", "seed": drill.seed, "sampler": {"name": "random"}}
    plan = StudyPlan(
        name="drill",
        file=StudyFile.model_validate({**file, "pruner": {"name": "none"}}),
        space=parse_space(SPACE, "the drill"),
        fixed={},
        start_points=(),
    )
    name = f"drill-{os.getpid()}-{int(time.time())}-{drill.seed}"
    begun = begin_study(storage, name, plan, environment)
    begun.study.ask_for(drill.n_trials)
    for _ in begun.cases.prepare():
        pass
    return begun


def run_drill(
    begun: BegunStudy,
    address: str,
    drill: Drill,
    meanwhile: Callable[[], None] = lambda: None,
    variables: Sequence[Mapping[str, str]] = ({},),
) -> Iterator[Happened]:
    """Work on the drill's study while workers are killed, terminated and frozen; tell of it.

    `meanwhile` is called once, after half of the faults; `variables` are set in the environment of
    the processes, in turn. Processes that end are started again. Raises KidneysegError when the
    study is not finished in time, or not as it must be.
    """
    order = DrillOrder(
        study=begun.study.name, environment=begun.cases.environment, workers=drill.workers_each
    )
    n_trials = drill.n_trials
    with drill_crew(order, address, drill.n_processes, variables) as crew:
        for happened in _strike(crew, begun.study, drill, meanwhile):
            if happened is None:  # through before all faults: more work, more workers
                n_trials += drill.n_trials
                begun.study.ask_for(n_trials)
                crew.start_again()
            else:
                yield happened
    problems = find_faults(begun.study, n_trials)
    if problems:
        raise KidneysegError(f"the drill failed: {'; '.join(problems)}")


def _strike(
    crew: Crew, study: Study, drill: Drill, meanwhile: Callable[[], None]
) -> Iterator[Happened | None]:
    """Strike until all faults happened and the work is done; None asks for more work."""
    chance = random.Random(drill.seed)
    deadline = time.monotonic() + drill.most_seconds
    done = 0
    while not (crew.is_through() and done >= drill.n_faults):
        if crew.is_through():
            yield None
        crew.replace_dead()
        if time.monotonic() > deadline:
            raise KidneysegError(f"the drill took longer than {drill.most_seconds:.0f} s")
        if done >= drill.n_faults:
            time.sleep(LOOK_SECONDS)
            continue
        time.sleep(chance.uniform(*drill.pause_seconds))
        fault = drill.faults[done % len(drill.faults)]
        if not crew.strike(fault, chance, spared=find_last_attempts(study)):
            continue
        done += 1
        yield Happened(what=fault.value)
        if done == drill.n_faults // 2:
            meanwhile()


def find_last_attempts(study: Study) -> set[int]:
    """The processes of workers one of whose trials fails, as it must, if it dies once more."""
    holders = {
        row.trial_id: row.worker
        for row in study.storage.read(select(leases.c.trial_id, leases.c.worker))
    }
    running = study.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    workers = [
        WorkerIdentity.parse(holders.get(trial._trial_id, ""))
        for trial in running
        if trial.user_attrs.get(ATTEMPT, 1) >= MAX_ATTEMPTS
    ]
    return {worker.pid for worker in workers if worker is not None}


def end_drill(begun: BegunStudy) -> None:
    """Remove a drill's study and files; the phantoms and their slices stay for the next one."""
    optuna.delete_study(study_name=begun.study.name, storage=begun.study.storage.optuna)
    runs = begun.cases.environment.common.runs
    for folder in (runs / begun.study.name, runs / "artifacts"):
        shutil.rmtree(folder, ignore_errors=True)
