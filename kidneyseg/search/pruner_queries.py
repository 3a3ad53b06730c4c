"""The questions that pruners ask of the database, one for each rule, built once.

Parameters: `study` and `trial`, by Optuna's ids, and `epoch`. Dice is NULL where it is NaN.
"""

from sqlalchemy import (
    BindParameter,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    true,
)

from kidneyseg.search.budget import HANDED_BACK, OUTCOME, State
from kidneyseg.search.lineage import LINEAGE
from kidneyseg.search.tables import trial_reports, trial_user_attributes, trials

_STUDY: BindParameter[int] = bindparam("study")
_TRIAL: BindParameter[int] = bindparam("trial")
_EPOCH: BindParameter[int] = bindparam("epoch")
_step = trial_reports.c.step
_dice = trial_reports.c.intermediate_value  # NULL for NaN
_of_trial = trial_reports.c.trial_id == trials.c.trial_id
_of_study = trials.c.study_id == _STUDY
_is_failed = trials.c.state == literal_column(f"'{State.FAIL}'")  # a cast would cost a third more
_is_complete = trials.c.state == literal_column(f"'{State.COMPLETE}'")

_outcome = trial_user_attributes.alias("outcome")
_was_handed_back = (
    select(_outcome.c.trial_id)
    .where(
        _outcome.c.trial_id == trials.c.trial_id,
        _outcome.c.key == OUTCOME,
        _outcome.c.value_json.like(f'"{HANDED_BACK}%'),
    )
    .exists()
)
_counts = or_(~_is_failed, ~_was_handed_back)

_mine = (  # the trial's own Dice at this epoch
    select(_dice.label("dice"))
    .where(trial_reports.c.trial_id == _TRIAL, _step == _EPOCH)
    .cte("mine")
)
_my_best = (
    select(func.max(_dice).label("dice")).where(trial_reports.c.trial_id == _TRIAL).cte("my_best")
)

# The trial's best Dice, and where it stands among the complete trials' at this epoch.
AMONG_COMPLETE = (
    select(
        func.max(_my_best.c.dice).label("mine"),
        func.count().label("n_complete"),
        func.count(case((_dice < _my_best.c.dice, 1))).label("below"),
        func.count(case((_dice == _my_best.c.dice, 1))).label("equal"),
        func.count(_dice).label("n"),
        func.max(case((_dice < _my_best.c.dice, _dice))).label("next_below"),
        func.min(case((_dice > _my_best.c.dice, _dice))).label("next_above"),
    )
    .select_from(trials)
    .join(_my_best, true())
    .outerjoin(trial_reports, and_(_of_trial, _step == _EPOCH))
    .where(_of_study, _is_complete)
)

# How many trials, itself included, have a Dice at this epoch, and how many a better one.
AMONG_REACHED = (
    select(
        func.max(_mine.c.dice).label("mine"),
        func.count(_dice).label("n"),
        func.count(case((_dice > _mine.c.dice, 1))).label("better"),
    )
    .select_from(trials)
    .join(_mine, true())
    .join(trial_reports, and_(_of_trial, _step == _EPOCH))
    .where(_of_study, _counts)
)

# Each trial that reported this epoch, itself included, with the numbers that it had before.
_lineage = trial_user_attributes.alias("lineage")
EACH_REACHED = (
    select(
        trials.c.trial_id,
        trials.c.number,
        _lineage.c.value_json.label("lineage"),
        _dice.label("dice"),
    )
    .select_from(trials)
    .join(trial_reports, and_(_of_trial, _step == _EPOCH))
    .outerjoin(_lineage, and_(_lineage.c.trial_id == trials.c.trial_id, _lineage.c.key == LINEAGE))
    .where(_of_study, _counts)
)

# How many trials, itself included, reached this epoch, and how many with a better best Dice.
_best = (
    select(trials.c.trial_id, func.max(_dice).label("dice"))
    .join(trial_reports, _of_trial)
    .where(_of_study, _step <= _EPOCH, _counts)
    .group_by(trials.c.trial_id)
    .having(func.max(_step) == _EPOCH)
    .cte("best")
)
AMONG_BESTS = (
    select(
        func.max(_my_best.c.dice).label("mine"),
        func.count().label("n"),
        func.count(case((_best.c.dice > _my_best.c.dice, 1))).label("better"),
    )
    .select_from(_best)
    .join(_my_best, true())
)

# The trial's own Dice at this epoch.
MINE = select(_mine)
