"""How far a study is: one query of our own (`status_query.py`), however many trials there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import json_to_distribution
from sqlalchemy import Row, select

from kidneyseg.errors import StorageLostError, StudyError
from kidneyseg.search.budget import HANDED_BACK, State
from kidneyseg.search.identity import ALIVE_SECONDS, WorkerIdentity
from kidneyseg.search.patience import DATABASE_ERRORS
from kidneyseg.search.status_query import RECENT, SURPLUS, Part, status_query
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import study_names
from kidneyseg.search.study_status import BestTrial, RunningTrial, StudyStatus, WorkerStatus
from kidneyseg.search.tables import studies

SET_ASIDE = (HANDED_BACK, SURPLUS)  # kinds of trials that ended without failing

Sheet = Mapping[Part, Sequence[Row[Any]]]  # rows by their part


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """Trials that ended, or did not, in the same way."""

    n: int = 0
    epochs: int = 0
    copied_epochs: int = 0  # of them, trained under an earlier number of the same training
    hours: float = 0.0  # from each one's start to its end
    n_trained: int = 0  # of them; the others took a result over
    epoch_hours: float = 0.0  # of their epochs, each trial's at most from its start to its end


def read_status(storage: Storage, study: str) -> StudyStatus:
    """Read a study's status.

    Epochs are all that were told of, each once, whatever became of its trial; one that a process
    finished and did not live to tell is missing. Hours of work are those of each trial from its
    start to its end, of a running one of a living worker until now; one that was handed back, and a
    running one that nobody holds, counts with its finished epochs, as nobody knows when its worker
    stopped. What pruning saved is what the pruned trials would have cost had each been like the
    mean complete one, less what they did cost. The time left is that of the missing trials at the
    pace of the last 50.

    Raises StudyError where there is no such study, StorageLostError where the database is away.
    """
    try:
        rows = storage.read(status_query(study)).all()
    except DATABASE_ERRORS as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise StorageLostError(f"{storage.address}: does not answer ({reason})") from error
    if not any(row.part == Part.STUDY for row in rows):
        raise _unknown(storage, study)
    sheet = {part: [row for row in rows if row.part == part] for part in Part}
    return _assemble(study, sheet)


def find_study_id(storage: Storage, study: str) -> int:
    """The number of a study. Raises StudyError that lists the studies there are."""
    query = select(studies.c.study_id).where(studies.c.study_name == study)
    found = storage.read(query).first()
    if found is None:
        raise _unknown(storage, study)
    return int(found.study_id)


def _unknown(storage: Storage, study: str) -> StudyError:
    known = ", ".join(study_names(storage)) or "none"
    return StudyError(f"study {study!r}: not in {storage.address}; the studies there: {known}")


def _assemble(study: str, sheet: Sheet) -> StudyStatus:
    (order,) = sheet[Part.STUDY]
    now = order.value_1
    kinds = {row.text_0: _kind(row) for row in sheet[Part.KIND]}
    states = _states(kinds, sheet)
    workers = _workers(sheet, now)
    n_left = max(0, (order.number or 0) - states["complete"] - states["pruned"])
    saved = _saved(kinds)
    return StudyStatus(
        study=study,
        n_trials=order.number or 0,
        states=states,
        handed_back=sum(_of(kinds, kind).n for kind in SET_ASIDE),
        best=_best(sheet),
        workers=workers,
        running=_running(sheet),
        epochs=sum(kind.epochs - kind.copied_epochs for kind in kinds.values()),
        hours=_hours(kinds, sheet, {worker.trial for worker in workers if worker.alive}),
        saved_epochs=round(saved.epochs),
        saved_hours=saved.hours,
        hours_left=None if order.text_0 else _hours_left(n_left, sheet),
        stop=order.text_0,
        stop_now=bool(order.value_0),
    )


def _kind(row: Row[Any]) -> _Kind:
    return _Kind(
        n=row.number,
        epochs=round(row.value_0),
        hours=row.value_1 / 3600,
        epoch_hours=row.value_2 / 3600,
        n_trained=round(row.value_3),
        copied_epochs=round(row.value_4),
    )


def _of(kinds: Mapping[str, _Kind], name: str) -> _Kind:
    return kinds.get(name, _Kind())


def _states(kinds: Mapping[str, _Kind], sheet: Sheet) -> dict[str, int]:
    """Trials by state. One that was handed back and is not in line again yet is waiting, too."""
    in_hand = max(0, _of(kinds, HANDED_BACK).n - sheet[Part.COPIES][0].number)
    return {
        "complete": _of(kinds, State.COMPLETE).n,
        "pruned": _of(kinds, State.PRUNED).n,
        "running": _of(kinds, State.RUNNING).n,
        "waiting": _of(kinds, State.WAITING).n + in_hand,
        "failed": _of(kinds, State.FAIL).n,
    }


def _best(sheet: Sheet) -> BestTrial | None:
    if not sheet[Part.BEST]:
        return None
    (best,) = sheet[Part.BEST]
    drawn = sorted(sheet[Part.PARAMETER], key=lambda row: row.number)
    params = {
        row.text_0: json_to_distribution(row.text_1).to_external_repr(row.value_0) for row in drawn
    }
    return BestTrial(number=best.number, value=best.value_0, params=params)


def _running(sheet: Sheet) -> list[RunningTrial]:
    trials = [_running_trial(row) for row in sheet[Part.RUNNING]]
    return sorted(trials, key=lambda trial: trial.trial)


def _running_trial(row: Row[Any]) -> RunningTrial:
    return RunningTrial(
        trial=row.number,
        epoch=round(row.value_0 or 0),
        dice=row.value_1,
        seconds_per_epoch=row.value_3 / row.value_4 if row.value_4 else None,
        worker=_name(row.text_0 or ""),
    )


def _workers(sheet: Sheet, now: float) -> list[WorkerStatus]:
    trials = {row.text_0: _running_trial(row) for row in sheet[Part.RUNNING]}
    return [
        _worker(row, trials.get(row.text_0), now - row.value_1)
        for row in sorted(sheet[Part.WORKER], key=lambda row: row.text_0)
    ]


def _worker(row: Row[Any], trial: RunningTrial | None, seen_seconds_ago: float) -> WorkerStatus:
    return WorkerStatus(
        worker=_name(row.text_0),
        device=row.text_1,
        alive=seen_seconds_ago <= ALIVE_SECONDS,
        seen_seconds_ago=seen_seconds_ago,
        trial=trial.trial if trial else None,
        epoch=trial.epoch if trial else 0,
        dice=trial.dice if trial else None,
        seconds_per_epoch=trial.seconds_per_epoch if trial else None,
    )


def _name(worker: str) -> str:
    """A worker as people call it: host, process, and its place where that holds several."""
    identity = WorkerIdentity.parse(worker)
    if identity is None:
        return ""
    place = f"/{identity.place}" if identity.place else ""
    return f"{identity.host} {identity.pid}{place}"


def _hours(kinds: Mapping[str, _Kind], sheet: Sheet, held: set[int | None]) -> float:
    """Hours of work; `held` are the running trials of living workers."""
    (order,) = sheet[Part.STUDY]
    over = (State.COMPLETE, State.PRUNED, State.FAIL)
    hours = sum(_of(kinds, kind).hours for kind in over)
    hours += sum(_of(kinds, kind).epoch_hours for kind in SET_ASIDE)
    for row in sheet[Part.RUNNING]:
        if row.number in held and row.value_2 is not None:
            hours += max(0.0, order.value_1 - row.value_2) / 3600
        else:
            hours += row.value_3 / 3600
    return hours


def _saved(kinds: Mapping[str, _Kind]) -> _Kind:
    """What pruning saved: nothing where no trial is complete, and never less than nothing."""
    complete, pruned = _of(kinds, State.COMPLETE), _of(kinds, State.PRUNED)
    if not complete.n_trained:
        return _Kind()
    times = pruned.n_trained / complete.n_trained
    return _Kind(
        n=pruned.n,
        epochs=max(0, round(complete.epochs * times) - pruned.epochs),
        hours=max(0.0, complete.hours * times - pruned.hours),
    )


def _hours_left(n_left: int, sheet: Sheet) -> float | None:
    """Hours for the trials left, at the pace at which the last ones were finished.

    The pace is counted over the last 50, at most since the first of today's workers came; where no
    worker is alive, or none has finished a trial yet, it is unknown.
    """
    if n_left == 0:
        return 0.0
    (order,) = sheet[Part.STUDY]
    now = order.value_1
    since = [row.value_0 for row in sheet[Part.WORKER] if now - row.value_1 <= ALIVE_SECONDS]
    ends = sorted(row.value_0 for row in sheet[Part.RECENT])
    if not since:
        return None
    first = min(since) if len(ends) < RECENT else max(min(since), ends[0])
    n_finished = sum(1 for end in ends if end > first)
    if not n_finished or now <= first:
        return None
    return float(n_left * (now - first) / n_finished / 3600)
