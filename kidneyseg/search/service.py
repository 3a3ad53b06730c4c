"""From what a person asked for to a study in the database and a workplace to work on it."""

from dataclasses import dataclass

from kidneyseg.cores import count_cores
from kidneyseg.ct.development import DevelopmentCases, find_development_cases
from kidneyseg.ct.shown_names import adopt_pseudonyms
from kidneyseg.errors import StudyError
from kidneyseg.phantom.data_set import holds_phantoms
from kidneyseg.runs import Runs
from kidneyseg.search.artifact_stores import open_artifacts
from kidneyseg.search.definition import StudyPlan, check_same, code_version
from kidneyseg.search.notes import refresh_note
from kidneyseg.search.objective import Workplace
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import Study, load_study, open_study, study_names
from kidneyseg.settings import MACHINE_PATHS, Environment
from kidneyseg.training.device import check_precision, find_device


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunStudy:
    """A study in the database and the cases, on this machine, that it is about."""

    study: Study
    cases: DevelopmentCases

    def workplace(self, device: str, place: int = 0, n_workers: int = 1) -> Workplace:
        """What one of several workers of this machine brings to a trial.

        The processor's cores are shared out among the workers. Raises SettingsError for a device
        that this machine does not have, or that does not have the study's precision.
        """
        environment, study = self.cases.environment, self.study
        found = find_device(device)
        check_precision(study.definition.settings.training.precision, found)
        runs = Runs(environment.common.runs)
        study.storage.patience.seconds = environment.common.patience_minutes * 60
        return Workplace(
            # Each worker has a study of its own: its sampler knows which trial it draws for.
            study=load_study(study.storage, study.name),
            runs=runs,
            store=open_artifacts(environment.common, runs),
            cases=self.cases,
            device=str(found),
            threads=max(1, count_cores() // n_workers),
            place=place,
            pictures=environment.common.pictures,
            keep_best=environment.common.keep_best,
            grace_seconds=environment.common.grace_seconds,
        )


def begin_study(
    storage: Storage, name: str, plan: StudyPlan, environment: Environment
) -> BegunStudy:
    """Create the study, or go on with it, on the data that the environment names.

    Raises DataError for data that cannot be used, StudyError when the study was begun otherwise.
    """
    find_device(environment.common.device)
    check_pseudonyms(storage, name, environment)
    cases = find_development_cases(environment)
    planned = plan.definition(cases.environment, cases.split.data, cases.split.fingerprint)
    about = {"pseudonyms": cases.names.key, "phantoms": holds_phantoms(environment.data.folder)}
    definition = planned.model_copy(update=about)
    study = open_study(storage, name, definition)
    refresh_note(study, cases.split)
    return BegunStudy(study=study, cases=cases)


def join_study(storage: Storage, name: str, machine: Environment) -> BegunStudy:
    """Join a study that is in the database, with the data and folders of this machine.

    The settings that decide a result are the study's own, and so are pseudonyms. Raises StudyError
    when this machine's data is not what the study was begun with, SettingsError without the key of
    its pseudonyms.
    """
    study = load_study(storage, name)
    recorded = study.definition.pseudonyms
    if machine.common.pseudonyms and not recorded:
        raise _without_pseudonyms(name)
    environment = adopt_pseudonyms(study_environment(study, machine), recorded, f"study {name!r}")
    cases = find_development_cases(environment)
    mine = study.definition.model_copy(
        update={
            "data": cases.split.data,
            "split": cases.split.fingerprint,
            "pseudonyms": cases.names.key,
            "code": code_version(),
        }
    )
    check_same(name, study.definition, mine)
    return BegunStudy(study=study, cases=cases)


def check_pseudonyms(storage: Storage, name: str, environment: Environment) -> None:
    """Refuse to go on with a study under other names of cases than it was begun with.

    Raises StudyError, and SettingsError without the key of its pseudonyms; makes no key.
    """
    if name not in study_names(storage):
        return
    recorded = load_study(storage, name).definition.pseudonyms
    if environment.common.pseudonyms and not recorded:
        raise _without_pseudonyms(name)
    if recorded and not environment.common.pseudonyms:
        raise StudyError(
            f"study {name!r} was begun with pseudonyms for the names of cases; expected "
            "common.pseudonyms = true (--set common.pseudonyms=true), or another study (--name)"
        )
    adopt_pseudonyms(environment, recorded, f"study {name!r}")


def has_pseudonyms(storage: Storage, name: str) -> bool:
    """Whether a study is there, is ours, and has pseudonyms."""
    try:
        return bool(load_study(storage, name).definition.pseudonyms)
    except StudyError:
        return False


def _without_pseudonyms(name: str) -> StudyError:
    return StudyError(
        f"study {name!r} was begun without pseudonyms, and the database holds names of cases; "
        "expected common.pseudonyms = false, or another study (--name)"
    )


def study_environment(study: Study, machine: Environment) -> Environment:
    """The study's settings with a machine's paths and device."""
    settings = study.definition.settings
    paths = machine.data.model_dump(include=MACHINE_PATHS)
    return Environment(
        data=study.definition.data_settings().model_copy(update=paths),
        network=settings.network,
        training=settings.training,
        evaluation=settings.evaluation,
        common=machine.common,
    )


def check_budget(n_trials: int) -> int:
    """Refuse a budget below 1. Raises StudyError."""
    if n_trials < 1:
        raise StudyError(f"--n-trials {n_trials}: expected 1 or more")
    return n_trials
