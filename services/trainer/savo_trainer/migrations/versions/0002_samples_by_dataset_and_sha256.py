"""Index of samples by data set and sha256: a freeze reads them page by page."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_samples_dataset_sha256", "samples", ["dataset", "sha256"])
    op.drop_index("ix_samples_dataset", "samples")


def downgrade() -> None:
    op.create_index("ix_samples_dataset", "samples", ["dataset"])
    op.drop_index("ix_samples_dataset_sha256", "samples")
