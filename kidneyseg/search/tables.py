"""The tables we read with SQL of our own, and the one we add, in the same database.

Optuna owns its tables; the columns described here are those we read. `leases` is ours.
"""

from sqlalchemy import (
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

_ALL = MetaData()

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

# Who trains a running trial, and a counter that shows that they still do. Whoever watches judges by
# the counter and their own clock: two machines' clocks are never compared.
leases = Table(
    "kidneyseg_leases",
    _ALL,
    Column(
        "trial_id",
        Integer,
        ForeignKey("trials.trial_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("worker", String(300), nullable=False),
    Column("beat", Integer, nullable=False),
)


def create_tables(engine: Engine) -> None:
    """Make our own table where it is missing. Optuna makes its own."""
    _ALL.create_all(engine, tables=[leases])
