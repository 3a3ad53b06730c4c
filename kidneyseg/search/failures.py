"""A study in which nothing works any more stops and says why."""

from datetime import datetime

from sqlalchemy import ColumnElement, extract, func, select

from kidneyseg.search.budget import FAILED, FINISHED, OUTCOME, STATE, State
from kidneyseg.search.identity import ALIVE_SECONDS
from kidneyseg.search.orders import read_order, stop_unless_stopped
from kidneyseg.search.studies import Study
from kidneyseg.search.tables import trial_user_attributes, trials, workers

FAILURES_EACH = 3  # in a row, for every worker


def stop_where_all_fail(study: Study, reason: str) -> bool:
    """Stop the study if its last trials, three for every worker, all failed.

    One machine on which everything fails stops itself (`worker.py`); it does not stop the others.
    """
    storage = study.storage
    alive = (workers.c.study_id == study.id, _seconds_ago(workers.c.seen) < ALIVE_SECONDS)
    n_workers = storage.read(select(func.count()).where(*alive)).scalar_one()
    wanted = FAILURES_EACH * max(1, n_workers)
    order = read_order(storage, study.id)
    outcome = trial_user_attributes
    is_outcome = (outcome.c.trial_id == trials.c.trial_id) & (outcome.c.key == OUTCOME)
    ended = (
        select(STATE.label("state"))
        .outerjoin(outcome, is_outcome)
        .where(
            trials.c.study_id == study.id,
            trials.c.number >= order.failures_from,
            STATE.in_(FINISHED)
            | ((STATE == State.FAIL) & outcome.c.value_json.like(f'"{FAILED}%')),
        )
        .order_by(trials.c.number.desc())
        .limit(wanted)
    )
    states = storage.read(ended).scalars().all()
    if len(states) < wanted or any(state != State.FAIL for state in states):
        return False
    stop_unless_stopped(
        storage, study.id, f"the last {wanted} trials all failed, the last one: {reason}"
    )
    return True


def _seconds_ago(time: ColumnElement[datetime]) -> ColumnElement[int]:
    """By the database's clock, which wrote the time, too."""
    return extract("epoch", func.current_timestamp()) - extract("epoch", time)
