"""Answers that the app asks its user to confirm."""

import sqlalchemy as sa
from alembic import op
from savo_runtime.database import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("scans", sa.Column("asked", sa.Boolean(), nullable=True))
    op.create_table(
        "ask_counts",
        sa.Column("period", sa.String(length=16), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("period"),
    )


def downgrade() -> None:
    op.drop_table("ask_counts")
    op.drop_column("scans", "asked")
