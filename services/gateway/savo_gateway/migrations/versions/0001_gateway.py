"""People and keys, scans and confirmations, and the projections behind the statistics."""

import sqlalchemy as sa
from alembic import op
from savo_runtime.database import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.String(length=200), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("key_id"),
    )
    op.create_table(
        "confirmations",
        sa.Column("scan_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("request", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("published", sa.Boolean(), nullable=False),
        sa.Column("confirmed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("scan_id", "revision"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("scan_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "models",
        sa.Column("version", sa.String(length=20), nullable=False),
        sa.Column("map50", sa.Float(), nullable=False),
        sa.Column("event", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("registered_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.create_table(
        "photo_owners",
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("image", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("first_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "sha256"),
    )
    op.create_index("ix_photo_owners_sha256", "photo_owners", ["sha256"])
    op.create_table(
        "recipes",
        sa.Column("recipe_id", sa.String(length=64), nullable=False),
        sa.Column("scan_id", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("event", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("suggested_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("recipe_id"),
    )
    op.create_index("ix_recipes_scan_id", "recipes", ["scan_id"])
    op.create_index("ix_recipes_subject", "recipes", ["subject"])
    op.create_table(
        "reported_photos",
        sa.Column("scan_id", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("anonymous", sa.Boolean(), nullable=False),
        sa.Column("image", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("uploaded_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("scan_id"),
    )
    op.create_index("ix_reported_photos_sha256", "reported_photos", ["sha256"])
    op.create_table(
        "sample_labels",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=80), nullable=False),
        sa.Column("boxes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", "label"),
    )
    op.create_index("ix_sample_labels_label", "sample_labels", ["label"])
    op.create_table(
        "sample_rejections",
        sa.Column("scan_id", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("lifted", sa.Boolean(), nullable=False),
        sa.Column("rejected_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("scan_id"),
    )
    op.create_index("ix_sample_rejections_reason", "sample_rejections", ["reason"])
    op.create_table(
        "samples",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("scan_id", sa.String(length=64), nullable=False),
        sa.Column("detections", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("erased", sa.Boolean(), nullable=False),
        sa.Column("first_stored_at", UtcDateTime(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    )
    op.create_index("ix_samples_first_stored_at", "samples", ["first_stored_at"])
    op.create_table(
        "scans",
        sa.Column("scan_id", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("anonymous", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("image", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("upload_sha256", sa.String(length=64), nullable=True),
        sa.Column("storage_location", sa.String(length=16), nullable=True),
        sa.Column("consent", sa.Boolean(), nullable=True),
        sa.Column("captured_at", UtcDateTime(), nullable=True),
        sa.Column("device_info", sa.Text(), nullable=True),
        sa.Column("requested_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("cost_usd", sa.Float(), nullable=True),
        sa.Column("error_code", sa.String(length=40), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("edited", sa.Boolean(), nullable=True),
        sa.Column("confirmed_at", UtcDateTime(), nullable=True),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("scan_id"),
    )
    op.create_index("ix_scans_confirmed_at", "scans", ["confirmed_at"])
    op.create_index("ix_scans_finished_at", "scans", ["finished_at"])
    op.create_index("ix_scans_of_subject", "scans", ["subject", "requested_at", "scan_id"])
    op.create_index("ix_scans_unfinished", "scans", ["status", "expires_at"])
    op.create_table(
        "subjects",
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("reference", sa.String(length=200), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("subject"),
        sa.UniqueConstraint("kind", "reference", name="uq_subjects_person"),
    )
    op.create_table(
        "training_runs",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("event", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index("ix_training_runs_finished_at", "training_runs", ["finished_at"])
    op.create_table(
        "upload_refusals",
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("reason"),
    )


def downgrade() -> None:
    op.drop_table("upload_refusals")
    op.drop_index("ix_training_runs_finished_at", table_name="training_runs")
    op.drop_table("training_runs")
    op.drop_table("subjects")
    op.drop_index("ix_scans_unfinished", table_name="scans")
    op.drop_index("ix_scans_of_subject", table_name="scans")
    op.drop_index("ix_scans_finished_at", table_name="scans")
    op.drop_index("ix_scans_confirmed_at", table_name="scans")
    op.drop_table("scans")
    op.drop_index("ix_samples_first_stored_at", table_name="samples")
    op.drop_table("samples")
    op.drop_index("ix_sample_rejections_reason", table_name="sample_rejections")
    op.drop_table("sample_rejections")
    op.drop_index("ix_sample_labels_label", table_name="sample_labels")
    op.drop_table("sample_labels")
    op.drop_index("ix_reported_photos_sha256", table_name="reported_photos")
    op.drop_table("reported_photos")
    op.drop_index("ix_recipes_subject", table_name="recipes")
    op.drop_index("ix_recipes_scan_id", table_name="recipes")
    op.drop_table("recipes")
    op.drop_index("ix_photo_owners_sha256", table_name="photo_owners")
    op.drop_table("photo_owners")
    op.drop_table("models")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_table("confirmations")
    op.drop_table("api_keys")
