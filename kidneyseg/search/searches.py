"""A search from Python: begin it, loop over what happens, take the best trial's model."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kidneyseg.ct.development import find_development_cases
from kidneyseg.environment_files import load_environment, split_assignments, with_folders
from kidneyseg.phantom.data_set import make_demo_phantoms
from kidneyseg.runs import Runs, check_study_name
from kidneyseg.search.addresses import storage_address
from kidneyseg.search.artifact_stores import open_artifacts
from kidneyseg.search.definition import load_plan
from kidneyseg.search.disk import check_disk, largest_network
from kidneyseg.search.events import Event
from kidneyseg.search.export import ExportedTrial, Keep, export_trial, find_best
from kidneyseg.search.grid import check_grid
from kidneyseg.search.service import BegunStudy, begin_study, check_budget
from kidneyseg.search.status import read_status
from kidneyseg.search.storage import open_storage
from kidneyseg.search.studies import study_names
from kidneyseg.search.study_status import BestTrial, StudyStatus
from kidneyseg.search.workers import work_together


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A study in a database, and the cases of this machine that it is about."""

    begun: BegunStudy

    @property
    def name(self) -> str:
        """The study's name in the database."""
        return self.begun.study.name

    def run(
        self, n_trials: int, devices: Sequence[str] | None = None
    ) -> Generator[Event, None, None]:
        """Work until the study holds `n_trials` finished trials; yield what happens.

        With several devices, one trial at a time on each of them; by default on the environment's.
        Left early (`break`, Ctrl-C), running trials are handed back: the same call goes on with
        them. Raises StudyError for a budget below 1, CorrectableError for more than a grid has
        points or the disk has room, KidneysegError after several failures in a row.
        """
        begun, study = self.begun, self.begun.study
        common = begun.cases.environment.common
        places = [common.device] if devices is None else devices
        check_grid(study.definition, study.name, check_budget(n_trials))
        check_disk(common, study.name, largest_network(study.definition), len(places))
        workplaces = [begun.workplace(each, n, len(places)) for n, each in enumerate(places)]
        for _ in begun.cases.prepare():
            pass
        study.ask_for(n_trials)
        with closing(work_together(workplaces, n_trials)) as told:
            for each in told:
                yield each.event

    def status(self) -> StudyStatus:
        """Trials by state, the best so far, what it cost, and who works on what."""
        return read_status(self.begun.study.storage, self.name)

    def best(self) -> BestTrial:
        """The complete trial with the highest validation Dice. Raises StudyError for none."""
        return find_best(self.begun.study.storage, self.name)

    def export(self, out: Path, trial: int | None = None) -> ExportedTrial:
        """Write the best (or a given) trial's model folder to `out`, whole or not at all.

        Raises StudyError for a study or trial that has none, ModelError for one that is gone.
        """
        common = self.begun.cases.environment.common
        runs = Runs(common.runs)
        storage, store = self.begun.study.storage, open_artifacts(common, runs)
        return export_trial(Keep(storage=storage, store=store, runs=runs), self.name, out, trial)


def begin_search(
    study: str,
    *,
    data: Path | None = None,
    environment: str = "local",
    values: Mapping[str, Any] | None = None,
    name: str | None = None,
    storage: str | None = None,
) -> Search:
    """Create a study in the database or go on with it, as `kidneyseg-search submit` does.

    `study` and `environment` are names or paths of files, `values` what `--set` gives: single
    hyper-parameters (`alpha`) and settings (`training.max_epochs`). Without `data`, and with none
    named by the environment, phantom scans are made once. `storage` is by default what
    `KIDNEYSEG_STORAGE` says, else a SQLite file in the runs folder.

    Raises SettingsError, DataError, StorageError or StudyError for what a person can put right.
    """
    hyperparameters, settings = split_assignments(values or {})
    machine = with_folders(load_environment(environment, settings), data=data)
    plan = load_plan(study, hyperparameters, settings)
    runs = Runs(machine.common.runs)
    opened = open_storage(storage_address(storage, runs))
    if machine.data.folder is None:
        for _ in make_demo_phantoms(runs.phantom):
            pass
        machine = with_folders(machine, data=runs.phantom)
    called = check_study_name(name or plan.name)
    if called not in study_names(opened):  # data that fail leave no study behind
        for _ in find_development_cases(machine).prepare():
            pass
    return Search(begun=begin_study(opened, called, plan, machine))
