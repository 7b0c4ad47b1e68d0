"""Room for any provider's name: at most 32 characters (savo_contracts.open_values)."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("spending") as table:
        table.alter_column("provider", existing_type=sa.String(16), type_=sa.String(40), existing_nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("spending") as table:
        table.alter_column("provider", existing_type=sa.String(40), type_=sa.String(16), existing_nullable=False)
