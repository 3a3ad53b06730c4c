"""The tables we read with SQL of our own, and those we add, in the same database.

Optuna owns its tables; the columns described here are those we read. Ours begin with `kidneyseg_`.
"""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Engine,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

_ALL = MetaData()


class utc_now(FunctionElement[datetime]):  # noqa: N801 - it reads as SQL's own functions
    """The database's clock in UTC, whatever time zone the session is in."""

    inherit_cache = True
    type = DateTime()


@compiles(utc_now)
def _now(*_: object, **__: object) -> str:
    return "CURRENT_TIMESTAMP"  # SQLite's is UTC


@compiles(utc_now, "postgresql")
def _now_of_postgresql(*_: object, **__: object) -> str:
    return "timezone('UTC', CURRENT_TIMESTAMP)"


studies = Table(
    "studies",
    _ALL,
    Column("study_id", Integer, primary_key=True),
    Column("study_name", String),
)

study_user_attributes = Table(
    "study_user_attributes",
    _ALL,
    Column("study_id", Integer),
    Column("key", String),
    Column("value_json", Text),
)

trials = Table(
    "trials",
    _ALL,
    Column("trial_id", Integer, primary_key=True),
    Column("number", Integer),
    Column("study_id", Integer),
    Column("state", String),  # an enumeration of Optuna's; always compared as text
    Column("datetime_start", DateTime),  # UTC
    Column("datetime_complete", DateTime),  # UTC
)

trial_values = Table(
    "trial_values",
    _ALL,
    Column("trial_id", Integer),
    Column("value", Float),
)

trial_reports = Table(
    "trial_intermediate_values",
    _ALL,
    Column("trial_id", Integer),
    Column("step", Integer),  # the epoch
    Column("intermediate_value", Float),  # its validation Dice
)

trial_user_attributes = Table(
    "trial_user_attributes",
    _ALL,
    Column("trial_id", Integer),
    Column("key", String),
    Column("value_json", Text),
)

trial_system_attributes = Table(
    "trial_system_attributes",
    _ALL,
    Column("trial_id", Integer),
    Column("key", String),
    Column("value_json", Text),
)

# What this project adds. Rows go with the trial or study that they belong to.


def _of_trial() -> Column[int]:
    reference = ForeignKey("trials.trial_id", ondelete="CASCADE")
    return Column("trial_id", Integer, reference, primary_key=True, autoincrement=False)


def _of_study() -> Column[int]:
    reference = ForeignKey("studies.study_id", ondelete="CASCADE")
    return Column("study_id", Integer, reference, primary_key=True, autoincrement=False)


# Who trains a running trial, and a counter that shows that they still do. Whoever watches judges by
# the counter and their own clock: two machines' clocks are never compared.
leases = Table(
    "kidneyseg_leases",
    _ALL,
    _of_trial(),
    Column("worker", String(300), nullable=False),  # identity.WorkerIdentity as text
    Column("beat", Integer, nullable=False),
)

# How far a study shall go, and whether it shall stop.
orders = Table(
    "kidneyseg_orders",
    _ALL,
    _of_study(),
    Column("n_trials", Integer, nullable=False),  # finished trials asked for, by who asked for most
    Column("stop", Text),  # why no new trial may begin, for people; NULL: go on
    Column("stop_now", Boolean, nullable=False),  # running trials are handed back, too
    Column(
        "failures_from", Integer, nullable=False
    ),  # number of the first trial whose failure counts
)

# Who works on a study. Times are the database's own clock, so that no two clocks are compared.
workers = Table(
    "kidneyseg_workers",
    _ALL,
    _of_study(),
    Column("worker", String(300), primary_key=True),  # identity.WorkerIdentity as text
    Column("device", String(100), nullable=False),
    Column("since", DateTime, nullable=False),  # UTC
    Column("seen", DateTime, nullable=False),  # UTC; renewed with every beat
)

# What an epoch of a trial gave, beside its validation Dice.
epochs = Table(
    "kidneyseg_epochs",
    _ALL,
    _of_trial(),
    Column("epoch", Integer, primary_key=True, autoincrement=False),  # from 1
    Column("training_loss", Float, nullable=False),
    Column("training_dice_loss", Float, nullable=False),
    Column("training_cross_entropy", Float, nullable=False),
    Column("validation_loss", Float, nullable=False),
    Column("validation_dice_loss", Float, nullable=False),
    Column("validation_cross_entropy", Float, nullable=False),
    Column("learning_rate", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),  # peak, of the device the trial ran on
)

# Which trial has which of the points that are decided beforehand (start points, a sequence).
places = Table(
    "kidneyseg_places",
    _ALL,
    _of_study(),
    Column("place", Integer, primary_key=True, autoincrement=False),  # from 0
    Column("trial_id", ForeignKey("trials.trial_id", ondelete="CASCADE"), nullable=False),
)

# Which trial tries which hyper-parameters: no two the same.
points = Table(
    "kidneyseg_points",
    _ALL,
    _of_study(),
    Column("point", String(64), primary_key=True),  # twins.digest of the hyper-parameters
    Column("trial_id", ForeignKey("trials.trial_id", ondelete="CASCADE"), nullable=False),
)

OURS = (leases, orders, workers, epochs, places, points)


def create_tables(engine: Engine) -> None:
    """Make our own tables where they are missing. Optuna makes its own."""
    _ALL.create_all(engine, tables=list(OURS))
