"""The best trial, or a given one, as a model folder of the user's own."""

from dataclasses import dataclass
from pathlib import Path

from kidneyseg.errors import ModelError, StudyError
from kidneyseg.model.description import (
    ModelDescription,
    check_place,
    check_weights,
    copy_model,
    load_description,
)
from kidneyseg.runs import Runs
from kidneyseg.search.budget import State, read_states
from kidneyseg.search.status import find_study_id, read_status
from kidneyseg.search.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedTrial:
    """What was exported."""

    trial: int
    description: ModelDescription


def export_trial(
    storage: Storage, study: str, runs: Runs, out: Path, number: int | None = None
) -> ExportedTrial:
    """Copy a trial's model folder to `out`; without a number that of the best complete trial.

    Raises StudyError for a study or trial that has none, ModelError for a checkpoint that is gone
    or damaged, and for an `out` that holds something else.
    """
    if number is None:
        number = _best_number(storage, study)
    else:
        _check_finished(storage, study, number)
    source = runs.model(study, number)
    if not source.is_dir():
        raise ModelError(
            f"{source}: the checkpoint of trial {number} is not there; name the runs folder in "
            "which it was trained (common.runs), or train it again with kidneyseg train"
        )
    description = load_description(source)
    check_weights(source, description)
    check_place(out)
    copy_model(source, out)
    return ExportedTrial(trial=number, description=description)


def _best_number(storage: Storage, study: str) -> int:
    status = read_status(storage, study)
    if status.best is None:
        raise StudyError(
            f"study {study!r}: no trial is complete yet, so none is best; run more, or name a "
            "trial with --trial"
        )
    return status.best.number


def _check_finished(storage: Storage, study: str, number: int) -> None:
    states = read_states(storage, find_study_id(storage, study))
    if states.get(number) not in (State.COMPLETE, State.PRUNED):
        state = states[number].lower() if number in states else "not there"
        raise StudyError(
            f"study {study!r}: trial {number} is {state}; expected a complete or pruned one"
        )
