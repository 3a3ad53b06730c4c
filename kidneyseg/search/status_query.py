"""The one query behind `status`: a sheet of rows, each saying which part of the answer it is.

Everything is counted and summed by the database, so that the answer is as long as the list of
workers and running trials, however many trials there were. Times are seconds since 1970, by the
database's clock where it is about now.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    CompoundSelect,
    Float,
    Integer,
    Select,
    String,
    and_,
    case,
    cast,
    column,
    distinct,
    func,
    literal,
    null,
    select,
    table,
    union_all,
)

from kidneyseg.search.budget import FINISHED, HANDED_BACK, OUTCOME, STATE, State
from kidneyseg.search.crew import seconds_since_1970
from kidneyseg.search.lineage import LINEAGE, TAKEN_OVER, WENT_ON_AFTER
from kidneyseg.search.tables import (
    epochs,
    leases,
    orders,
    studies,
    trial_reports,
    trial_user_attributes,
    trial_values,
    trials,
    workers,
)

RECENT = 50  # finished trials from which the pace is told
SURPLUS = "surplus"  # how the outcome of a trial begins that was beyond the budget

trial_params = table(  # of Optuna's
    "trial_params",
    column("param_id"),
    column("trial_id"),
    column("param_name"),
    column("param_value"),
    column("distribution_json"),
)


class Part(StrEnum):
    """What a row of the sheet tells, and in which columns."""

    STUDY = "study"  # n_trials; why it stops; 1 for at once, now
    KIND = "kind"  # how many; of which kind; epochs, seconds, those in epochs; trained; copied
    COPIES = "copies"  # trials that were handed back and are in line again
    BEST = "best"  # trial; Dice
    PARAMETER = "parameter"  # place; name, distribution; value: of the best trial
    RUNNING = "running"  # trial; lease; epoch, Dice, start, seconds of epochs, so many epochs
    WORKER = "worker"  # identity, device; since, seen
    RECENT = "recent"  # when a trial was finished: the last ones


def status_query(study: str) -> CompoundSelect[Any]:
    """The sheet of a study, by its name; no row at all where there is no such study."""
    study_id = select(studies.c.study_id).where(studies.c.study_name == study).scalar_subquery()
    each = _each(study_id)
    best = _best(study_id)
    return union_all(
        _study(study),
        _kinds(each),
        _copies(study_id),
        _row(Part.BEST, best.c.number, values=(best.c.value,)),
        _parameters(best),
        _running(each),
        _workers(study_id),
        _recent(each),
    )


def _row(
    part: Part,
    number: Any = None,
    texts: tuple[Any, ...] = (),
    values: tuple[Any, ...] = (),
) -> Select[Any]:
    """A row of the sheet: a part, a number, two texts, five values; those not given are empty."""
    given_texts = (*texts, *[null()] * (2 - len(texts)))
    given_values = (*values, *[null()] * (5 - len(values)))
    columns: list[ColumnElement[Any]] = [
        literal(part.value, String).label("part"),
        cast(null() if number is None else number, Integer).label("number"),
        *(cast(each, String).label(f"text_{n}") for n, each in enumerate(given_texts)),
        *(cast(each, Float(53)).label(f"value_{n}") for n, each in enumerate(given_values)),
    ]
    return select(*columns)


def _study(study: str) -> Select[Any]:
    now = seconds_since_1970(func.current_timestamp())
    at_once = case((orders.c.stop_now, 1), else_=0)
    row = _row(Part.STUDY, orders.c.n_trials, (orders.c.stop,), (at_once, now))
    return row.select_from(
        studies.outerjoin(orders, orders.c.study_id == studies.c.study_id)
    ).where(studies.c.study_name == study)


def _each(study_id: Any) -> CTE:
    """A row for every trial of the study: its kind, its times, its epochs."""
    outcome = trial_user_attributes.alias()
    ended = and_(
        outcome.c.trial_id == trials.c.trial_id,
        outcome.c.key == OUTCOME,
        STATE == State.FAIL,
    )
    source = trial_user_attributes.alias()
    taken_over = and_(source.c.trial_id == trials.c.trial_id, source.c.key == TAKEN_OVER)
    is_trained = source.c.trial_id.is_(None)  # not: its result is another trial's
    before = trial_user_attributes.alias()
    went_on = and_(before.c.trial_id == trials.c.trial_id, before.c.key == WENT_ON_AFTER)
    reports = _reports(study_id)
    n_reports = func.coalesce(reports.c.n, 0)
    n_before = func.coalesce(cast(before.c.value_json, Integer), 0)
    timed = _timed_epochs(study_id)
    start, end = (
        seconds_since_1970(trials.c.datetime_start),
        seconds_since_1970(trials.c.datetime_complete),
    )
    kind = case(
        (outcome.c.value_json.like(f'"{HANDED_BACK}%'), HANDED_BACK),
        (outcome.c.value_json.like(f'"{SURPLUS}%'), SURPLUS),
        else_=STATE,
    )
    return (
        select(
            trials.c.trial_id,
            trials.c.number,
            kind.label("kind"),
            start.label("start"),
            end.label("end"),
            case((is_trained, 1), else_=0).label("is_trained"),
            case((is_trained, n_reports), else_=0).label("n_epochs"),
            case((n_before < n_reports, n_before), else_=n_reports).label("n_copied"),
            reports.c.last.label("last_epoch"),
            func.coalesce(timed.c.seconds, 0.0).label("epoch_seconds"),
            func.coalesce(timed.c.n, 0).label("n_timed"),
        )
        .outerjoin(outcome, ended)
        .outerjoin(source, taken_over)
        .outerjoin(before, went_on)
        .outerjoin(reports, reports.c.trial_id == trials.c.trial_id)
        .outerjoin(timed, timed.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id)
        .cte("each_trial")
    )


def _reports(study_id: Any) -> Any:
    of_trial = trial_reports.c.trial_id
    return (
        select(of_trial, func.count().label("n"), func.max(trial_reports.c.step).label("last"))
        .join(trials, trials.c.trial_id == of_trial)
        .where(trials.c.study_id == study_id)
        .group_by(of_trial)
        .subquery()
    )


def _timed_epochs(study_id: Any) -> Any:
    """Seconds of the epochs of trials that run or failed: of others the times tell more.

    Those that were trained under an earlier number are counted there.
    """
    of_trial = epochs.c.trial_id
    before = trial_user_attributes.alias()
    went_on = and_(before.c.trial_id == of_trial, before.c.key == WENT_ON_AFTER)
    n_before = func.coalesce(cast(before.c.value_json, Integer), 0)
    return (
        select(of_trial, func.count().label("n"), func.sum(epochs.c.seconds).label("seconds"))
        .join(trials, trials.c.trial_id == of_trial)
        .outerjoin(before, went_on)
        .where(
            trials.c.study_id == study_id,
            STATE.in_((State.RUNNING, State.FAIL)),
            epochs.c.epoch > n_before,
        )
        .group_by(of_trial)
        .subquery()
    )


def _kinds(each: CTE) -> Select[Any]:
    between = func.coalesce(each.c.end - each.c.start, 0.0) * each.c.is_trained
    span = case((between < 0, 0.0), else_=between)  # a clock was set back
    in_epochs = case((each.c.epoch_seconds < span, each.c.epoch_seconds), else_=span)
    sums = (
        func.sum(each.c.n_epochs),
        func.sum(span),
        func.sum(in_epochs),
        func.sum(each.c.is_trained),
        func.sum(each.c.n_copied),
    )
    return _row(Part.KIND, func.count(), (each.c.kind,), sums).group_by(each.c.kind)


def _copies(study_id: Any) -> Select[Any]:
    """Trials that went on: all copies of a trial hold the same lineage."""
    lineages = trial_user_attributes
    n = func.count(distinct(lineages.c.value_json))
    return (
        _row(Part.COPIES, n)
        .select_from(trials.join(lineages, lineages.c.trial_id == trials.c.trial_id))
        .where(trials.c.study_id == study_id, lineages.c.key == LINEAGE)
    )


def _best(study_id: Any) -> CTE:
    return (
        select(trials.c.trial_id, trials.c.number, trial_values.c.value)
        .join(trial_values, trial_values.c.trial_id == trials.c.trial_id)
        .where(
            trials.c.study_id == study_id,
            STATE == State.COMPLETE,
            trial_values.c.value.is_not(None),  # infinity is none
        )
        .order_by(trial_values.c.value.desc(), trials.c.number)
        .limit(1)
        .cte("best_trial")
    )


def _parameters(best: CTE) -> Select[Any]:
    of = trial_params.c
    row = _row(
        Part.PARAMETER, of.param_id, (of.param_name, of.distribution_json), (of.param_value,)
    )
    return row.select_from(best.join(trial_params, of.trial_id == best.c.trial_id))


def _running(each: CTE) -> Select[Any]:
    """Running trials with their last report and whoever holds the lease."""
    at_last = and_(
        trial_reports.c.trial_id == each.c.trial_id, trial_reports.c.step == each.c.last_epoch
    )
    values = (
        each.c.last_epoch,
        trial_reports.c.intermediate_value,
        each.c.start,
        each.c.epoch_seconds,
        each.c.n_timed,
    )
    return (
        _row(Part.RUNNING, each.c.number, (leases.c.worker,), values)
        .select_from(
            each.outerjoin(trial_reports, at_last).outerjoin(
                leases, leases.c.trial_id == each.c.trial_id
            )
        )
        .where(each.c.kind == State.RUNNING)
    )


def _workers(study_id: Any) -> Select[Any]:
    times = (seconds_since_1970(workers.c.since), seconds_since_1970(workers.c.seen))
    row = _row(Part.WORKER, texts=(workers.c.worker, workers.c.device), values=times)
    return row.where(workers.c.study_id == study_id)


def _recent(each: CTE) -> Select[Any]:
    last = (
        select(each.c.end)
        .where(each.c.kind.in_(FINISHED), each.c.end.is_not(None))
        .order_by(each.c.end.desc())
        .limit(RECENT)
        .subquery()
    )
    return _row(Part.RECENT, values=(last.c.end,))
