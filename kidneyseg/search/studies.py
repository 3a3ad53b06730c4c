"""Studies in the database: created or gone on with, with their definition and their budget."""

import warnings
from dataclasses import dataclass

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from pydantic import ValidationError

from kidneyseg.errors import StudyError
from kidneyseg.runs import check_study_name
from kidneyseg.search.definition import StudyDefinition, check_same
from kidneyseg.search.pruners import build_pruner
from kidneyseg.search.samplers import StudySampler
from kidneyseg.search.storage import Storage

DEFINITION = "definition"  # study attribute: the definition as JSON
BUDGET = "n_trials"  # study attribute: finished trials asked for


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
    def n_trials(self) -> int:
        """The finished trials asked for so far, by whoever asked for most."""
        return int(self.optuna.user_attrs.get(BUDGET, 0))

    def raise_budget(self, n_trials: int) -> None:
        """Ask for at least so many finished trials."""
        if n_trials > self.n_trials:
            self.optuna.set_user_attr(BUDGET, n_trials)


def open_study(storage: Storage, name: str, definition: StudyDefinition) -> Study:
    """Create the study, or go on with it.

    Raises StudyError when it was begun with another definition, with the difference.
    """
    check_study_name(name)
    try:
        created = optuna.create_study(storage=storage.optuna, study_name=name, direction="maximize")
        with warnings.catch_warnings(category=ExperimentalWarning, action="ignore"):
            created.set_metric_names(["validation Dice"])
        created.set_user_attr(DEFINITION, definition.model_dump_json())
    except DuplicatedStudyError:
        pass
    study = load_study(storage, name, empty=definition)
    check_same(name, study.definition, definition)
    return study


def load_study(storage: Storage, name: str, empty: StudyDefinition | None = None) -> Study:
    """Load a study. One without a definition and trials takes `empty`, where given.

    Raises StudyError when there is none of that name, or it was not begun by this program.
    """
    try:
        loaded = optuna.load_study(storage=storage.optuna, study_name=name)
    except KeyError:
        known = ", ".join(study_names(storage)) or "none"
        raise StudyError(
            f"study {name!r}: not in {storage.address}; the studies there: {known}"
        ) from None
    recorded = loaded.user_attrs.get(DEFINITION)
    if recorded is None and empty is not None and not loaded.trials:
        # Whoever created it was stopped before writing the definition.
        recorded = empty.model_dump_json()
        loaded.set_user_attr(DEFINITION, recorded)
    try:
        definition = StudyDefinition.model_validate_json(recorded or "")
    except ValidationError:
        raise StudyError(
            f"study {name!r} in {storage.address} was not begun by this version of kidneyseg; "
            "name another study"
        ) from None
    loaded.sampler = StudySampler(definition)
    loaded.pruner = build_pruner(definition.pruner)
    return Study(name=name, storage=storage, definition=definition, optuna=loaded)


def study_names(storage: Storage) -> list[str]:
    """The names of all studies in the database."""
    return optuna.get_all_study_names(storage.optuna)
