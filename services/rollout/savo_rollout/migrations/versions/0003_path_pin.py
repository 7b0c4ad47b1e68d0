"""The pinned experiment of a model by path, and room for its name: at most 60 characters."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

EXPERIMENTS = {"history": True, "scans": False, "subject_values": False}
"""Whether the column `experiment` may be null, by table."""


def upgrade() -> None:
    with op.batch_alter_table("trial") as table:
        table.add_column(sa.Column("pin", sa.JSON, comment="The operator's model by its path."))
    _resize(20, 60)


def downgrade() -> None:
    # Names that the previous release has no room for belong to models by path, of which it keeps no evidence.
    for name, nullable in EXPERIMENTS.items():
        rows = sa.table(name, sa.column("experiment", sa.String))
        is_long = sa.func.length(rows.c.experiment) > 20
        op.execute(
            sa.update(rows).where(is_long).values(experiment=None) if nullable else sa.delete(rows).where(is_long)
        )
    _resize(60, 20)
    with op.batch_alter_table("trial") as table:
        table.drop_column("pin")


def _resize(before: int, after: int) -> None:
    for name, nullable in EXPERIMENTS.items():
        with op.batch_alter_table(name) as table:
            table.alter_column(
                "experiment", existing_type=sa.String(before), type_=sa.String(after), existing_nullable=nullable
            )
