"""The best trial, or a given one, as a model folder of the user's own."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from kidneyseg.errors import ModelError, StudyError
from kidneyseg.model.description import (
    MODEL_FILES,
    ModelDescription,
    check_place,
    check_weights,
    load_description,
)
from kidneyseg.model.folder import copy_model, load_model
from kidneyseg.runs import Runs
from kidneyseg.search.artifact_stores import ArtifactStore
from kidneyseg.search.artifacts import download_model, find_artifacts, find_trial_id
from kidneyseg.search.budget import State, read_states
from kidneyseg.search.keeping import REMOVED, read_model_note
from kidneyseg.search.lineage import TAKEN_OVER
from kidneyseg.search.status import find_study_id, read_status
from kidneyseg.search.storage import Storage
from kidneyseg.search.study_status import BestTrial


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedTrial:
    """What was exported."""

    trial: int
    description: ModelDescription


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Where a study's models are kept."""

    storage: Storage
    store: ArtifactStore
    runs: Runs


def export_trial(keep: Keep, study: str, out: Path, number: int | None = None) -> ExportedTrial:
    """Write a trial's model folder to `out`; without a number that of the best complete trial.

    It comes from the artifacts, or from the runs folder where it lies there, and is read back
    before it takes its place: `out` holds a whole model or what it held before.

    Raises StudyError for a study or trial that has none, ModelError for a model that was removed,
    is gone or damaged, and for an `out` that holds something else.
    """
    if number is None:
        number = find_best(keep.storage, study).number
    else:
        _check_finished(keep.storage, study, number)
    number = _source(keep.storage, study, number)
    check_place(out)
    with tempfile.TemporaryDirectory(prefix="kidneyseg-export-") as folder:
        fetched = Path(folder) / "model"
        _fetch(keep, study, number, fetched)
        description = load_model(fetched, torch.device("cpu")).description
        _check_value(keep, study, number, description)
        copy_model(fetched, out)
    return ExportedTrial(trial=number, description=description)


def _source(storage: Storage, study: str, number: int) -> int:
    """The trial whose result a trial has: its own number, but where the result was taken over."""
    trial = storage.optuna.get_trial(find_trial_id(storage, study, number))
    return int(trial.user_attrs.get(TAKEN_OVER, number))


def _fetch(keep: Keep, study: str, number: int, out: Path) -> None:
    """Write a trial's verified model folder to `out`."""
    trial_id = find_trial_id(keep.storage, study, number)
    local = keep.runs.model(study, number)
    if any(name in MODEL_FILES for name, _ in find_artifacts(keep.storage, trial_id)):
        try:
            download_model(keep.store, keep.storage, study, number, out)
        except ModelError:
            if not local.is_dir():
                raise
        else:
            return
    if not local.is_dir():
        raise ModelError(_why_gone(keep, study, number, local))
    check_weights(local, load_description(local))
    copy_model(local, out)


def _why_gone(keep: Keep, study: str, number: int, local: Path) -> str:
    note = read_model_note(keep.storage, find_trial_id(keep.storage, study, number)) or ""
    if note.startswith(REMOVED):
        return (
            f"trial {number} of study {study!r}: its model was {note}; raise common.keep_best "
            "before a search, or train it again with kidneyseg train"
        )
    return (
        f"{local}: the checkpoint of trial {number} is not there; name the runs folder in "
        "which it was trained (common.runs), or train it again with kidneyseg train"
    )


def _check_value(keep: Keep, study: str, number: int, description: ModelDescription) -> None:
    """Refuse a model of another training: a runs folder may hold an older study of the name."""
    trial = keep.storage.optuna.get_trial(find_trial_id(keep.storage, study, number))
    value, dice = trial.value, description.validation.dice
    if State(trial.state.name) == State.COMPLETE and value != dice:
        raise ModelError(
            f"trial {number} of study {study!r} has validation Dice {value}, the model that lies "
            f"there {dice}: it is of another training; name the runs folder or store in which it "
            "was trained"
        )


def find_best(storage: Storage, study: str) -> BestTrial:
    """The best complete trial. Raises StudyError where there is none yet."""
    status = read_status(storage, study)
    if status.best is None:
        raise StudyError(
            f"study {study!r}: no trial is complete yet, so none is best; run more, or name a "
            "trial with --trial"
        )
    return status.best


def _check_finished(storage: Storage, study: str, number: int) -> None:
    states = read_states(storage, find_study_id(storage, study))
    if states.get(number) not in (State.COMPLETE, State.PRUNED):
        state = states[number].lower() if number in states else "not there"
        raise StudyError(
            f"study {study!r}: trial {number} is {state}; expected a complete or pruned one"
        )
