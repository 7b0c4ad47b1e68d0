"""Finished scans, erased scans and subjects, and spending."""

import sqlalchemy as sa
from alembic import op
from savo_runtime.database import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "results",
        sa.Column("scan_id", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(64), nullable=False, index=True),
        sa.Column("event_type", sa.String(80), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("finished_at", UtcDateTime, nullable=False, index=True),
    )
    op.create_table(
        "erased",
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("value", sa.String(64), primary_key=True),
        sa.Column("erased_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "spending",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("usd", sa.Float, nullable=False),
        sa.Column("spent_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_spending_provider_spent_at", "spending", ["provider", "spent_at"])


def downgrade() -> None:
    for table in ("spending", "erased", "results"):
        op.drop_table(table)
