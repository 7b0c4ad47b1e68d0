"""Runs with their history, the index of samples, numbers of data sets and models, the lease."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "samples",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("dataset", sa.String(64), nullable=False),
        sa.Column("split", sa.String(8), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("image_key", sa.String(1024), nullable=False),
        sa.Column("labels_key", sa.String(1024), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("stored_at", MOMENT, nullable=False),
    )
    op.create_index("ix_samples_dataset", "samples", ["dataset"])
    op.create_table(
        "erased_samples",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("erased_at", MOMENT, nullable=False),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("dataset", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("trigger", sa.JSON, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("progress", sa.JSON),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("next_steps", sa.JSON, nullable=False),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
    )
    op.create_index("ix_runs_state", "runs", ["state"])
    op.create_table(
        "run_transitions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("before", sa.String(16)),
        sa.Column("after", sa.String(16), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("ix_run_transitions_run_id", "run_transitions", ["run_id"])
    op.create_table(
        "numbers",
        sa.Column("series", sa.String(16), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("run_id", sa.String(64), nullable=False),
    )
    op.create_index("ix_numbers_run", "numbers", ["series", "run_id"])
    leases = op.create_table(
        "leases",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("until", MOMENT, nullable=False),
    )
    op.bulk_insert(leases, [{"name": "runs", "owner": "", "until": datetime(1970, 1, 1, tzinfo=UTC)}])


def downgrade() -> None:
    for table in ("leases", "numbers", "run_transitions", "runs", "erased_samples", "samples"):
        op.drop_table(table)
