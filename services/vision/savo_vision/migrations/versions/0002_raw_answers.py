"""Raw answers of providers, for replays."""

import sqlalchemy as sa
from alembic import op
from savo_runtime.database import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "raw_answers",
        sa.Column("scan_id", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(64), nullable=False, index=True),
        sa.Column("provider", sa.String(40), nullable=False),
        sa.Column("model", sa.String(120), nullable=False),
        sa.Column("prompt", sa.String(16), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("answered_at", UtcDateTime, nullable=False, index=True),
    )


def downgrade() -> None:
    op.drop_table("raw_answers")
