"""State, audit log, models, evidence, and erased scans and subjects."""

import sqlalchemy as sa
from alembic import op
from savo_runtime.database import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trial",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column(
            "version",
            sa.Integer,
            nullable=False,
            comment="Counts every write; guards against two replicas deciding at once.",
        ),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("share", sa.Float, nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("changed_by", sa.String(120), nullable=False),
        sa.Column("changed_at", UtcDateTime, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("step_started_at", UtcDateTime),
        sa.Column("candidate", sa.JSON),
        sa.Column("champion", sa.JSON),
        sa.Column("queued", sa.JSON),
    )
    op.create_table(
        "history",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("by", sa.String(120), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("share", sa.Float, nullable=False),
        sa.Column("experiment", sa.String(20)),
        sa.Column("champion", sa.String(20)),
        sa.Column("reason", sa.String(1000), nullable=False),
    )
    op.create_table(
        "models", sa.Column("version", sa.String(20), primary_key=True), sa.Column("model", sa.JSON, nullable=False)
    )
    op.create_table(
        "scans",
        sa.Column("scan_id", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("experiment", sa.String(20), nullable=False),
        sa.Column("arm", sa.String(20), nullable=False),
        sa.Column("step", sa.Integer, nullable=False, comment="Step of the experiment when it was first heard of."),
        sa.Column("ended", sa.Boolean, nullable=False),
        sa.Column("failed", sa.Boolean, nullable=False),
        sa.Column("latency_ms", sa.Float),
        sa.Column("cost_usd", sa.Float, nullable=False),
        sa.Column("by_candidate", sa.Boolean, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False, comment="0: not confirmed yet."),
        sa.Column("kept", sa.Integer, nullable=False),
        sa.Column("counted", sa.Integer, nullable=False),
        sa.Column("edited", sa.Boolean, nullable=False),
    )
    op.create_index("scans_by_experiment", "scans", ["experiment", "arm"])
    op.create_index("scans_by_subject", "scans", ["subject"])
    op.create_table(
        "subject_values",
        sa.Column("experiment", sa.String(20), primary_key=True),
        sa.Column("arm", sa.String(20), primary_key=True),
        sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("measure", sa.String(20), primary_key=True),
        sa.Column("subject", sa.String(64), primary_key=True),
        sa.Column("scan_id", sa.String(64), nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column(
            "first",
            sa.Boolean,
            nullable=False,
            comment="The subject's first value of this measure in the whole experiment.",
        ),
    )
    op.create_index("values_by_scan", "subject_values", ["scan_id"])
    op.create_index("values_by_subject", "subject_values", ["subject"])
    op.create_table(
        "erased", sa.Column("kind", sa.String(10), primary_key=True), sa.Column("id", sa.String(64), primary_key=True)
    )


def downgrade() -> None:
    for table in ("erased", "subject_values", "scans", "models", "history", "trial"):
        op.drop_table(table)
