"""Create the tables of finished answers and erasures."""

import sqlalchemy as sa
from alembic import op
from savo_runtime.database import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "suggestions",
        sa.Column("recipe_id", sa.String(64), primary_key=True),
        sa.Column("scan_id", sa.String(64), nullable=False, index=True),
        sa.Column("subject", sa.String(64), nullable=False, index=True),
        sa.Column("suggested", sa.Text, nullable=False),
        sa.Column("suggested_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "erased_scans",
        sa.Column("scan_id", sa.String(64), primary_key=True),
        sa.Column("erased_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "erased_subjects",
        sa.Column("subject", sa.String(64), primary_key=True),
        sa.Column("erased_at", UtcDateTime, nullable=False),
    )
