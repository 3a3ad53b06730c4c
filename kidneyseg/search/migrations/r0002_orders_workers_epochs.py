"""Orders, workers and epochs get tables. Budgets, until now study attributes, become orders."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

METRICS = (
    "training_loss",
    "training_dice_loss",
    "training_cross_entropy",
    "validation_loss",
    "validation_dice_loss",
    "validation_cross_entropy",
    "learning_rate",
    "seconds",
)


def upgrade() -> None:
    """Make the tables and carry the budgets over; the attributes stay as they are."""
    orders = op.create_table(
        "kidneyseg_orders",
        _belongs_to("studies", "study_id"),
        sa.Column("n_trials", sa.Integer, nullable=False),
        sa.Column("stop", sa.Text),
        sa.Column("stop_now", sa.Boolean, nullable=False),
        sa.Column("failures_from", sa.Integer, nullable=False),
    )
    op.create_table(
        "kidneyseg_workers",
        _belongs_to("studies", "study_id"),
        sa.Column("worker", sa.String(300), primary_key=True),
        sa.Column("device", sa.String(100), nullable=False),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.Column("seen", sa.DateTime, nullable=False),
    )
    op.create_table(
        "kidneyseg_epochs",
        _belongs_to("trials", "trial_id"),
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Float, nullable=False) for name in METRICS),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
    )
    if budgets := _budgets(op.get_bind()):
        op.bulk_insert(orders, budgets)


def _belongs_to(table: str, key: str) -> sa.Column[int]:
    reference = sa.ForeignKey(f"{table}.{key}", ondelete="CASCADE")
    return sa.Column(key, sa.Integer, reference, primary_key=True, autoincrement=False)


def _budgets(connection: sa.Connection) -> list[dict[str, Any]]:
    attributes = sa.table(
        "study_user_attributes", sa.column("study_id"), sa.column("key"), sa.column("value_json")
    )
    query = sa.select(attributes.c.study_id, attributes.c.value_json)
    rows = connection.execute(query.where(attributes.c.key == "n_trials"))
    found = {study_id: json.loads(value) for study_id, value in rows}
    return [
        {"study_id": study_id, "n_trials": n, "stop": None, "stop_now": False, "failures_from": 0}
        for study_id, n in found.items()
        if isinstance(n, int)  # a study of another program may mean something else by it
    ]
