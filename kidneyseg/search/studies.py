"""Studies in the database: created or gone on with, with their definition and their budget."""

import time
import warnings
from dataclasses import dataclass

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.pruners import NopPruner
from pydantic import ValidationError

from kidneyseg.errors import StudyError
from kidneyseg.runs import check_study_name
from kidneyseg.search.definition import StudyDefinition, check_same
from kidneyseg.search.orders import ask_for, claim, read_order
from kidneyseg.search.pruners import Pruner
from kidneyseg.search.samplers import StudySampler
from kidneyseg.search.storage import Storage

DEFINITION = "definition"  # study attribute: the definition as JSON
BUDGET = "n_trials"  # study attribute of the first release: finished trials asked for
DEFINING_SECONDS = 10.0  # between creating a study and writing its definition


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study in the database."""

    name: str
    storage: Storage
    definition: StudyDefinition
    optuna: optuna.Study

    @property
    def id(self) -> int:
        """Its number in the database."""
        return self.optuna._study_id

    @property
    def pruner(self) -> Pruner:
        """Decides which of its trials are given up early."""
        return Pruner(
            settings=self.definition.pruner,
            storage=self.storage,
            study_id=self.id,
            study_name=self.name,
        )

    @property
    def n_trials(self) -> int:
        """The finished trials asked for so far, by whoever asked for most."""
        return read_order(self.storage, self.id).n_trials

    def ask_for(self, n_trials: int) -> None:
        """Ask for at least so many finished trials; a study that was stopped goes on."""
        ask_for(self.storage, self.id, n_trials)


def open_study(storage: Storage, name: str, definition: StudyDefinition) -> Study:
    """Create the study, or go on with it.

    Raises StudyError when it was begun with another definition, with the difference.
    """
    check_study_name(name)
    try:
        created = optuna.create_study(storage=storage.optuna, study_name=name, direction="maximize")
        with warnings.catch_warnings(category=ExperimentalWarning, action="ignore"):
            created.set_metric_names(["validation Dice"])
    except DuplicatedStudyError:
        created = optuna.load_study(storage=storage.optuna, study_name=name)
    _define(storage, created, definition)
    study = load_study(storage, name)
    check_same(name, study.definition, definition)
    return study


def load_study(storage: Storage, name: str) -> Study:
    """Load a study.

    Raises StudyError when there is none of that name, or it was not begun by this program.
    """
    try:
        loaded = optuna.load_study(storage=storage.optuna, study_name=name)
    except KeyError:
        known = ", ".join(study_names(storage)) or "none"
        raise StudyError(
            f"study {name!r}: not in {storage.address}; the studies there: {known}"
        ) from None
    try:
        definition = StudyDefinition.model_validate_json(loaded.user_attrs.get(DEFINITION, ""))
    except ValidationError:
        raise StudyError(
            f"study {name!r} in {storage.address} was not begun by this version of kidneyseg; "
            "name another study"
        ) from None
    loaded.sampler = StudySampler(definition, storage)
    loaded.pruner = NopPruner()  # ours decides; Optuna's Hyperband would part TPE's trials, too
    return Study(name=name, storage=storage, definition=definition, optuna=loaded)


def _define(storage: Storage, created: optuna.Study, definition: StudyDefinition) -> None:
    """Write the definition of a study that has none; of several at the same instant one does.

    The others wait for it, and where it was stopped before it could, one of them writes its own.
    """
    deadline = time.monotonic() + DEFINING_SECONDS
    first = claim(storage, created._study_id)
    while DEFINITION not in created.user_attrs:
        if first or time.monotonic() > deadline:
            if created.get_trials(deepcopy=False):
                return  # not ours: load_study says so
            created.set_user_attr(DEFINITION, definition.model_dump_json())
        else:
            time.sleep(0.05)


def study_names(storage: Storage) -> list[str]:
    """The names of all studies in the database."""
    return optuna.get_all_study_names(storage.optuna)
