"""Feedback of the app's users."""

import sqlalchemy as sa
from alembic import op
from savo_runtime.database import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("feedback_id", sa.String(length=32), nullable=False),
        sa.Column("scan_id", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("content", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("feedback_id"),
    )
    op.create_index("ix_feedback_scan_id", "feedback", ["scan_id"])
    op.create_index("ix_feedback_subject", "feedback", ["subject"])


def downgrade() -> None:
    op.drop_table("feedback")
