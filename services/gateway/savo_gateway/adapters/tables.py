"""Tables of the gateway's database. Topics can rebuild the projections; people, keys and owners are only here."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Boolean, Float, Index, Integer, String, Text, UniqueConstraint, Uuid
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from savo_runtime.database import UtcDateTime

__all__ = [
    "ApiKeyRow",
    "AskCountRow",
    "AuditRow",
    "Base",
    "ConfirmationRow",
    "ConsentRow",
    "CorrectionRow",
    "DigestRow",
    "FeedbackRow",
    "IdempotencyRow",
    "ModelRow",
    "PhotoOwnerRow",
    "ProposalRow",
    "RecipesRow",
    "RecordRow",
    "RejectionRow",
    "ReportedPhotoRow",
    "ReviewQueueRow",
    "ReviewRow",
    "RunRow",
    "SampleLabelRow",
    "SampleRow",
    "ScanRow",
    "SubjectRow",
    "UploadRefusalRow",
]


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's way
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }


class SubjectRow(Base):
    """The person behind a subject. Without the row, the subject's events are anonymous."""

    __tablename__ = "subjects"
    __table_args__ = (UniqueConstraint("kind", "reference", name="uq_subjects_person"),)

    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    reference: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]


class ConsentRow(Base):
    """A person's newest consent to training, or its withdrawal."""

    __tablename__ = "consents"

    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    given: Mapped[bool] = mapped_column(Boolean)
    text_version: Mapped[str | None] = mapped_column(String(40))
    retention_days: Mapped[int] = mapped_column(Integer)
    changed_at: Mapped[datetime]


class PhotoOwnerRow(Base):
    """A subject that owns a photo. The photo's bytes are deleted with its last owner."""

    __tablename__ = "photo_owners"

    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)
    image: Mapped[dict[str, Any]]
    first_at: Mapped[datetime]


class ScanRow(Base):
    """A scan: its own columns from the request, and the result's, a projection of scans.completed and scans.failed."""

    __tablename__ = "scans"
    __table_args__ = (
        Index("ix_scans_of_subject", "subject", "requested_at", "scan_id"),
        Index("ix_scans_unfinished", "status", "expires_at"),
        Index("ix_scans_open_access", "open_access", "requested_at"),
        Index("uq_scans_client_scan_id", "client_scan_id", "subject", unique=True),
    )

    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64))
    anonymous: Mapped[bool] = mapped_column(Boolean)
    status: Mapped[str] = mapped_column(String(16))
    image: Mapped[dict[str, Any]]
    upload_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    """Of the file as received, with its metadata."""
    client_scan_id: Mapped[str | None] = mapped_column(String(64))
    """The phone's own id of the scan."""
    copied_from: Mapped[str | None] = mapped_column(String(64))
    """The scan whose photo and items this one has; None: its own."""
    open_access: Mapped[bool | None] = mapped_column(Boolean)
    """True: accepted without a key (SAVO_APP_ANONYMOUS)."""
    storage_location: Mapped[str | None] = mapped_column(String(16))
    consent: Mapped[bool | None] = mapped_column(Boolean)
    captured_at: Mapped[datetime | None]
    device_info: Mapped[str | None] = mapped_column(Text)
    requested_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    result: Mapped[dict[str, Any] | None]
    cost_usd: Mapped[float | None] = mapped_column(Float)
    error_code: Mapped[str | None] = mapped_column(String(40))
    error_message: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
    asked: Mapped[bool | None] = mapped_column(Boolean)
    """Whether the app should ask for a confirmation; None for scans of earlier releases."""
    edited: Mapped[bool | None] = mapped_column(Boolean)
    confirmed_at: Mapped[datetime | None] = mapped_column(index=True)
    changes: Mapped[int] = mapped_column(Integer, default=0)
    """Counted up first in each transaction that depends on this row, which locks it."""


class ConfirmationRow(Base):
    """A revision of a user's confirmation of a scan, as it was sent."""

    __tablename__ = "confirmations"

    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True)
    request: Mapped[dict[str, Any]]
    published: Mapped[bool] = mapped_column(Boolean)
    confirmed_at: Mapped[datetime]


class AskCountRow(Base):
    """Number of answers that the app asks about, in a minute or in a day."""

    __tablename__ = "ask_counts"

    period: Mapped[str] = mapped_column(String(16), primary_key=True)
    """2026-11-23 or 2026-11-23T12:05, UTC."""
    asked: Mapped[int] = mapped_column(Integer)
    ends_at: Mapped[datetime]


class CorrectionRow(Base):
    """Number of items whose label people changed from one to another, or kept, by model version and week."""

    __tablename__ = "corrections"

    week: Mapped[str] = mapped_column(String(8), primary_key=True)
    model_version: Mapped[str] = mapped_column(String(120), primary_key=True)
    from_label: Mapped[str] = mapped_column(String(80), primary_key=True)
    """Empty: the model missed the item."""
    label: Mapped[str] = mapped_column(String(80), primary_key=True)
    """Empty: the user removed the item."""
    items: Mapped[int] = mapped_column(Integer)


class ReviewQueueRow(Base):
    """A photo whose labels wait for an engineer's decision."""

    __tablename__ = "review_queue"
    __table_args__ = (Index("ix_review_queue_doubt", "doubt", "scan_id"),)

    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64), index=True)
    reason: Mapped[str] = mapped_column(String(40))
    detail: Mapped[str] = mapped_column(Text)
    doubt: Mapped[float] = mapped_column(Float)
    revision: Mapped[int] = mapped_column(Integer)
    queued_at: Mapped[datetime]


class ReviewRow(Base):
    """An engineer's decision on a photo's labels: a confirmation of its own."""

    __tablename__ = "reviews"

    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True)
    subject: Mapped[str] = mapped_column(String(64), index=True)
    reviewer: Mapped[str] = mapped_column(String(200))
    request: Mapped[dict[str, Any]]
    agreed: Mapped[int] = mapped_column(Integer)
    boxes: Mapped[int] = mapped_column(Integer)
    decided_at: Mapped[datetime]


class ProposalRow(Base):
    """Boxes that a model found in a photo whose items have none."""

    __tablename__ = "box_proposals"

    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64), index=True)
    model_version: Mapped[str] = mapped_column(String(120))
    items: Mapped[list[Any]]
    proposed_at: Mapped[datetime]


class IdempotencyRow(Base):
    """A caller's Idempotency-Key with the scan that its request created."""

    __tablename__ = "idempotency_keys"

    scope: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Hash of the caller."""
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    scan_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(index=True)


class ReportedPhotoRow(Base):
    """A photo sent to /training/upload-image, under the scan id that its confirmation will name."""

    __tablename__ = "reported_photos"
    __table_args__ = (Index("uq_reported_photos_client_scan_id", "client_scan_id", "subject", unique=True),)

    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    client_scan_id: Mapped[str | None] = mapped_column(String(64))
    """The phone's own id of the scan. Rows of earlier releases have it as `scan_id`."""
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    upload_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    subject: Mapped[str] = mapped_column(String(64))
    anonymous: Mapped[bool] = mapped_column(Boolean)
    image: Mapped[dict[str, Any]]
    uploaded_at: Mapped[datetime]


class ApiKeyRow(Base):
    """An API key, with a hash of its secret."""

    __tablename__ = "api_keys"

    key_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    secret_sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class AuditRow(Base):
    """Projection of audit.recorded, with the event itself."""

    __tablename__ = "audit"

    event_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    action: Mapped[str] = mapped_column(String(64))
    about: Mapped[str] = mapped_column(String(200))
    entry: Mapped[dict[str, Any]]
    recorded_at: Mapped[datetime] = mapped_column(index=True)


class RecordRow(Base):
    """An event of a scan with its position in Kafka."""

    __tablename__ = "scan_records"

    topic: Mapped[str] = mapped_column(String(255), primary_key=True)
    partition: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    offset: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    scan_id: Mapped[str] = mapped_column(String(64), index=True)
    event_id: Mapped[str] = mapped_column(String(36))
    published_at: Mapped[datetime]
    heard_at: Mapped[datetime]
    note: Mapped[str] = mapped_column(String(300))


class DigestRow(Base):
    """A week whose digest was sent, or is being sent."""

    __tablename__ = "digests"

    week: Mapped[str] = mapped_column(String(8), primary_key=True)
    claimed_at: Mapped[datetime]


class FeedbackRow(Base):
    """What a person of the app wrote about a scan. It is in no event, and is erased with the subject."""

    __tablename__ = "feedback"

    feedback_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    scan_id: Mapped[str] = mapped_column(String(64), index=True)
    subject: Mapped[str] = mapped_column(String(64), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    content: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class SampleRow(Base):
    """Projection of samples.stored and samples.erased: one row per photo."""

    __tablename__ = "samples"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    scan_id: Mapped[str] = mapped_column(String(64))
    detections: Mapped[int] = mapped_column(Integer)
    bytes: Mapped[int] = mapped_column(BigInteger)
    revision: Mapped[int] = mapped_column(Integer)
    erased: Mapped[bool] = mapped_column(Boolean)
    first_stored_at: Mapped[datetime] = mapped_column(index=True)
    changed_at: Mapped[datetime]


class SampleLabelRow(Base):
    """Number of a sample's boxes by label."""

    __tablename__ = "sample_labels"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    label: Mapped[str] = mapped_column(String(80), primary_key=True, index=True)
    boxes: Mapped[int] = mapped_column(Integer)


class RejectionRow(Base):
    """Projection of samples.rejected: the newest rejection of each scan's photo."""

    __tablename__ = "sample_rejections"

    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(40), index=True)
    detail: Mapped[str] = mapped_column(Text)
    lifted: Mapped[bool] = mapped_column(Boolean)
    """True: the photo became a sample later."""
    rejected_at: Mapped[datetime]


class UploadRefusalRow(Base):
    """Number of uploads that were refused for one reason."""

    __tablename__ = "upload_refusals"

    reason: Mapped[str] = mapped_column(String(40), primary_key=True)
    count: Mapped[int] = mapped_column(Integer)


class RunRow(Base):
    """Projection of training.finished, with the event itself."""

    __tablename__ = "training_runs"

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    event: Mapped[dict[str, Any]]
    finished_at: Mapped[datetime] = mapped_column(index=True)


class ModelRow(Base):
    """Projection of models.registered, with the event itself."""

    __tablename__ = "models"

    version: Mapped[str] = mapped_column(String(20), primary_key=True)
    map50: Mapped[float] = mapped_column(Float)
    event: Mapped[dict[str, Any]]
    registered_at: Mapped[datetime]


class RecipesRow(Base):
    """Projection of recipes.suggested, with the event itself."""

    __tablename__ = "recipes"

    recipe_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    scan_id: Mapped[str] = mapped_column(String(64), index=True)
    subject: Mapped[str] = mapped_column(String(64), index=True)
    event: Mapped[dict[str, Any]]
    suggested_at: Mapped[datetime]
