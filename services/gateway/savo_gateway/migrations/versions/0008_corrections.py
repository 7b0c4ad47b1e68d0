"""What people correct, by label, model version and week."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "corrections",
        sa.Column("week", sa.String(length=8), nullable=False),
        sa.Column("model_version", sa.String(length=120), nullable=False),
        sa.Column("from_label", sa.String(length=80), nullable=False),
        sa.Column("label", sa.String(length=80), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("week", "model_version", "from_label", "label"),
    )


def downgrade() -> None:
    op.drop_table("corrections")
