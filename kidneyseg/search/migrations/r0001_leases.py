"""The first release: leases alone. Its databases hold no version of ours."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table of leases."""
    op.create_table(
        "kidneyseg_leases",
        sa.Column(
            "trial_id",
            sa.Integer,
            sa.ForeignKey("trials.trial_id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("worker", sa.String(300), nullable=False),
        sa.Column("beat", sa.Integer, nullable=False),
    )
