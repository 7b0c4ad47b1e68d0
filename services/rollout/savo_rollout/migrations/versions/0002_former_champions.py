"""Former champions, for reverts. They are filled from the audit log for a rollout in progress."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TRIAL = sa.table("trial", sa.column("id", sa.Integer), sa.column("champion", sa.JSON), sa.column("former", sa.JSON))
HISTORY = sa.table("history", sa.column("sequence", sa.Integer), sa.column("champion", sa.String))
MODELS = sa.table("models", sa.column("version", sa.String), sa.column("model", sa.JSON))


def upgrade() -> None:
    # The default stays, because the previous release writes rows without the column while both run.
    with op.batch_alter_table("trial") as table:
        comment = "Champions before the present one, the last of them last."
        table.add_column(sa.Column("former", sa.JSON, nullable=False, server_default="[]", comment=comment))
    connection = op.get_bind()
    models = {row.version: row.model for row in connection.execute(sa.select(MODELS))}
    history = connection.execute(sa.select(HISTORY).order_by(HISTORY.c.sequence))
    champions = [row.champion for row in history if row.champion in models]
    for row in connection.execute(sa.select(TRIAL)).all():
        present = (row.champion or {}).get("version")
        former = [models[version] for version in dict.fromkeys(champions) if version != present]
        connection.execute(sa.update(TRIAL).where(TRIAL.c.id == row.id).values(former=former))


def downgrade() -> None:
    with op.batch_alter_table("trial") as table:
        table.drop_column("former")
