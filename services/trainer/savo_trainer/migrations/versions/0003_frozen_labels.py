"""Label files that data set versions keep by content, and the lease for freezing and removing versions."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LEASES = sa.table(
    "leases",
    sa.column("name", sa.String),
    sa.column("owner", sa.String),
    sa.column("until", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    op.create_table(
        "frozen_labels",
        sa.Column("labels_sha256", sa.String(64), primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
    )
    op.create_index("ix_frozen_labels_sha256", "frozen_labels", ["sha256"])
    free = {"owner": "", "until": datetime(1970, 1, 1, tzinfo=UTC)}
    op.bulk_insert(LEASES, [{"name": name, **free} for name in ("datasets", "frozen-labels")])


def downgrade() -> None:
    op.execute(LEASES.delete().where(LEASES.c.name.in_(["datasets", "frozen-labels"])))
    op.drop_table("frozen_labels")
