"""Claims get tables: of places among the points that are decided beforehand, and of points."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables. Trials from before hold no claims."""
    op.create_table(
        "kidneyseg_places",
        _belongs_to("studies", "study_id", primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
        _belongs_to("trials", "trial_id", primary_key=False),
    )
    op.create_table(
        "kidneyseg_points",
        _belongs_to("studies", "study_id", primary_key=True),
        sa.Column("point", sa.String(64), primary_key=True),
        _belongs_to("trials", "trial_id", primary_key=False),
    )


def _belongs_to(table: str, key: str, *, primary_key: bool) -> sa.Column[int]:
    reference = sa.ForeignKey(f"{table}.{key}", ondelete="CASCADE")
    return sa.Column(
        key, sa.Integer, reference, primary_key=primary_key, autoincrement=False, nullable=False
    )
