"""Which trials' models are kept: those of the best few, and of trials that are not over.

A complete trial that is not among the best k now never will be: values do not change, and more
trials only push it down. So any worker may remove its model, at any time, from however old a look
at the database; two that remove the same one do what one does.
"""

import json
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Row, and_, delete, insert, select
from sqlalchemy.exc import IntegrityError

from kidneyseg.runs import Runs
from kidneyseg.search.artifact_stores import ArtifactStore
from kidneyseg.search.artifacts import KEPT, MODEL, remove_model
from kidneyseg.search.budget import (
    FINISHED,
    HANDED_BACK,
    OUTCOME,
    STATE,
    Ledger,
    State,
    read_ledger,
)
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import Study
from kidneyseg.search.tables import trial_user_attributes, trial_values, trials

REMOVED = "removed"  # how the attribute begins where a model was removed
COPYING_SECONDS = 3600.0  # that nobody takes to copy a trial's folder
OVER = (State.COMPLETE, State.PRUNED, State.FAIL)

_outcomes = trial_user_attributes.alias("outcomes")


def remove_surplus_models(
    study: Study, store: ArtifactStore, runs: Runs, k: int, ended: int | None = None
) -> list[int]:
    """Remove the models of trials that are over and not among the best k; return their numbers.

    Call it after a trial was told, with its number as `ended`: its files on this machine are then
    looked at too where nothing was uploaded. Model artifacts, the local model folder and the
    checkpoints go; TensorBoard log and pictures stay. Of a trial that was handed back only
    artifacts go, for its files are the next one's. Killed on the way, the next call goes on.
    Raises StorageLostError when the store is away.
    """
    rows = list(study.storage.read(_over(study.id, ended)))
    complete = sorted((row for row in rows if row.state == State.COMPLETE), key=_rank)
    ranked = [row for row in complete if _is_kept(row)]
    others = [row for row in rows if row.state != State.COMPLETE]
    left = [row for row in others if _is_kept(row) or not _goes_on(row)]
    for row in (*ranked[k:], *left):
        _remove(study, store, runs, row, _why(row, k))
    return sorted(row.number for row in (*ranked[k:], *left))


def sweep_folders(study: Study, runs: Runs) -> list[int]:
    """Remove from this machine what no trial needs any more; return the numbers of those trials.

    What was left by workers that were killed, by trials that others ended, and by a process that
    stood still, woke, and wrote once more. A worker does it when it comes and when it leaves.
    """
    folder = runs.study(study.name)
    found = {number: each for each in _folders(folder) if (number := _number(each)) is not None}
    ledger = read_ledger(study.storage, study.id)
    swept = [number for number in sorted(found) if _sweep(found, number, ledger)]
    for leftover in folder.glob(".trial_*.tmp"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > COPYING_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
    return swept


def _folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("trial_*")) if folder.is_dir() else []


def _number(folder: Path) -> int | None:
    digits = folder.name.removeprefix("trial_")
    return int(digits) if digits.isdecimal() else None


def _sweep(found: Mapping[int, Path], number: int, ledger: Ledger) -> bool:
    """Remove a trial's checkpoints and model where nobody needs them; whether there were any."""
    unneeded = {
        State.COMPLETE: ("checkpoints",),
        State.PRUNED: ("checkpoints", "model"),
        State.FAIL: ("checkpoints", "model"),
    }.get(ledger.states.get(number, State.RUNNING), ())
    later = ledger.later(number)
    goes_on = bool(later) and ledger.states[later[-1]] not in (*FINISHED, State.FAIL)
    if goes_on and not any((found[n] / "checkpoints").is_dir() for n in later if n in found):
        return False  # whoever goes on with it has yet to fetch them
    there = [found[number] / name for name in unneeded if (found[number] / name).is_dir()]
    for each in there:
        shutil.rmtree(each, ignore_errors=True)
    return bool(there)


def read_model_note(storage: Storage, trial_id: int) -> str | None:
    """What a trial says of its model: `kept`, `removed: ...`, or nothing."""
    query = select(trial_user_attributes.c.value_json).where(
        trial_user_attributes.c.trial_id == trial_id, trial_user_attributes.c.key == MODEL
    )
    text = storage.read(query).scalar()
    return None if text is None else str(json.loads(text))


def _over(study_id: int, ended: int | None) -> Any:
    """Finished trials whose models are kept, and the one that ended just now."""
    note = trial_user_attributes
    of_note = and_(note.c.trial_id == trials.c.trial_id, note.c.key == MODEL)
    of_outcome = and_(_outcomes.c.trial_id == trials.c.trial_id, _outcomes.c.key == OUTCOME)
    return (
        select(
            trials.c.trial_id,
            trials.c.number,
            STATE.label("state"),
            trial_values.c.value,
            note.c.value_json.label("note"),
            _outcomes.c.value_json.label("outcome"),
        )
        .outerjoin(note, of_note)
        .outerjoin(trial_values, trial_values.c.trial_id == trials.c.trial_id)
        .outerjoin(_outcomes, of_outcome)
        .where(
            trials.c.study_id == study_id,
            STATE.in_(OVER),
            (note.c.value_json == json.dumps(KEPT)) | (trials.c.number == ended),
        )
    )


def _rank(row: Row[Any]) -> tuple[bool, float, int]:
    """Sorts as Optuna names the best: the highest value, and of equal ones the first."""
    return (row.value is None, -(row.value or 0.0), row.number)


def _is_kept(row: Row[Any]) -> bool:
    return bool(row.note == json.dumps(KEPT))


def _goes_on(row: Row[Any]) -> bool:
    """Whether another trial goes on with its files."""
    failed = row.state == State.FAIL  # one that its worker told first may have such an outcome, too
    return failed and row.outcome is not None and json.loads(row.outcome).startswith(HANDED_BACK)


def _why(row: Row[Any], k: int) -> str:
    if _goes_on(row):
        return f"{REMOVED}: another trial goes on with it"
    return {
        State.COMPLETE: f"{REMOVED}: not among the best {k}",
        State.PRUNED: f"{REMOVED}: the trial was pruned",
        State.FAIL: f"{REMOVED}: the trial failed",
    }[State(row.state)]


def _remove(study: Study, store: ArtifactStore, runs: Runs, row: Row[Any], why: str) -> None:
    """The note is changed last: until then whoever looks removes what is left."""
    remove_model(store, study.storage, row.trial_id)
    if not _goes_on(row):
        for folder in (runs.model, runs.checkpoints):
            shutil.rmtree(folder(study.name, row.number), ignore_errors=True)
    _note(study.storage, row.trial_id, why)


def _note(storage: Storage, trial_id: int, words: str) -> None:
    """Write it by SQL: Optuna lets nobody change a trial that is over."""
    note = trial_user_attributes
    row = insert(note).values(trial_id=trial_id, key=MODEL, value_json=json.dumps(words))
    try:
        storage.change(delete(note).where(note.c.trial_id == trial_id, note.c.key == MODEL), row)
    except IntegrityError:
        return  # another worker removed the same model and said so
