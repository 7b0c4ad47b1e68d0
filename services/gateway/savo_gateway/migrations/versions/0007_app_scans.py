"""Scans of the owner's app: the phone's own id, copies of look-alike frames, and scans without a key."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("scans", sa.Column("client_scan_id", sa.String(length=64), nullable=True))
    op.add_column("scans", sa.Column("copied_from", sa.String(length=64), nullable=True))
    op.add_column("scans", sa.Column("open_access", sa.Boolean(), nullable=True))
    op.create_index("ix_scans_upload_sha256", "scans", ["upload_sha256"])
    op.create_index("uq_scans_client_scan_id", "scans", ["client_scan_id", "subject"], unique=True)
    op.create_index("ix_scans_open_access", "scans", ["open_access", "requested_at"])
    op.add_column("reported_photos", sa.Column("client_scan_id", sa.String(length=64), nullable=True))
    op.add_column("reported_photos", sa.Column("upload_sha256", sa.String(length=64), nullable=True))
    op.create_index("uq_reported_photos_client_scan_id", "reported_photos", ["client_scan_id", "subject"], unique=True)
    op.create_index("ix_reported_photos_upload_sha256", "reported_photos", ["upload_sha256"])


def downgrade() -> None:
    op.drop_index("ix_reported_photos_upload_sha256", table_name="reported_photos")
    op.drop_index("uq_reported_photos_client_scan_id", table_name="reported_photos")
    op.drop_column("reported_photos", "upload_sha256")
    op.drop_column("reported_photos", "client_scan_id")
    op.drop_index("ix_scans_open_access", table_name="scans")
    op.drop_index("uq_scans_client_scan_id", table_name="scans")
    op.drop_index("ix_scans_upload_sha256", table_name="scans")
    op.drop_column("scans", "open_access")
    op.drop_column("scans", "copied_from")
    op.drop_column("scans", "client_scan_id")
