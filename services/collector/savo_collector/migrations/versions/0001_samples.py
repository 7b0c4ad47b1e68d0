"""Samples, their splits and fingerprints, refusals, sightings, counts, and the ledger of erasures."""

import sqlalchemy as sa
from alembic import op
from savo_runtime.database import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "samples",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("source_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("scan_id", sa.String(64), nullable=False, unique=True),
        sa.Column("subject", sa.String(64), nullable=False, index=True),
        sa.Column("anonymous", sa.Boolean, nullable=False),
        sa.Column("split", sa.String(8), nullable=False),
        sa.Column("media_type", sa.String(40), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("dhash", sa.String(16), nullable=False),
        sa.Column("phash", sa.String(16), nullable=False),
        sa.Column("claimed_at", UtcDateTime, nullable=False),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("crossing", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("stored", sa.Text),
    )
    op.create_table(
        "fingerprint_bands",
        sa.Column("band", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("piece", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sha256", sa.String(64), primary_key=True, index=True),
    )
    op.create_table(
        "subject_splits",
        sa.Column("subject", sa.String(64), primary_key=True),
        sa.Column("split", sa.String(8), nullable=False),
    )
    op.create_table(
        "refusals",
        sa.Column("scan_id", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(64), nullable=False, index=True),
        sa.Column("reason", sa.String(32), nullable=False, index=True),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("waiting", sa.Boolean, nullable=False),
        sa.Column("rejected_at", UtcDateTime, nullable=False),
        sa.Column("confirmed", sa.Text, nullable=False),
    )
    op.create_table(
        "sightings",
        sa.Column("label", sa.String(80), primary_key=True),
        sa.Column("scan_id", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(64), index=True),
    )
    counts = op.create_table(
        "counts",
        sa.Column("dataset", sa.String(40), primary_key=True),
        sa.Column("turns", sa.BigInteger, nullable=False),
        sa.Column("samples", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("fresh", sa.BigInteger, nullable=False),
        sa.Column("crossings", sa.Integer, nullable=False),
        sa.Column("counting_since", UtcDateTime),
    )
    op.bulk_insert(counts, [{"dataset": "ingredients", "turns": 0, "samples": 0, "bytes": 0, "fresh": 0, "crossings": 0, "counting_since": None}])
    op.create_table(
        "erased_scans",
        sa.Column("scan_id", sa.String(64), primary_key=True),
        sa.Column("sample_sha256", sa.String(64)),
        sa.Column("media_type", sa.String(40)),
        sa.Column("erased_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "erased_subjects",
        sa.Column("subject", sa.String(64), primary_key=True),
        sa.Column("erased_at", UtcDateTime, nullable=False),
    )
