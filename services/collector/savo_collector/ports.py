"""Ports of the collector: Protocols that its domain needs, and the data that they exchange."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from savo_collector.errors import ErasureCause
from savo_contracts.documents import SampleMeta
from savo_contracts.envelope import Event, ImageRef
from savo_contracts.samples import RejectionReason, SampleStored, Split
from savo_contracts.scans import ScanConfirmed
from savo_contracts.users import ConsentChanged
from savo_detection.photos.decoding import Pixels
from savo_detection.photos.fingerprints import Fingerprint

__all__ = [
    "Counts",
    "Photo",
    "PhotoStore",
    "Rejection",
    "Sample",
    "SampleDatabase",
    "SampleState",
    "SampleStore",
    "Transaction",
    "UnknownLabelCounts",
]


@dataclass(frozen=True)
class Photo:
    """An upright photo, as its sample stores it."""

    sha256: str
    """Of `data`."""
    data: bytes
    media_type: str
    width: int
    height: int
    pixels: Pixels
    """The decoded photo, possibly reduced: its longer side is at least 512 px, or the photo's own."""


class PhotoStore(Protocol):
    """Photos of scans in the object store."""

    async def read(self, image: ImageRef) -> Photo:
        """The photo, upright: encoded again only where the stored bytes are rotated.

        Raises `RejectedError(unreadable)`.
        """
        ...


class SampleStore(Protocol):
    """Image, labels and meta of each sample in the object store. The `put_…` methods raise `StorageFullError`."""

    async def put_image(self, photo: Photo) -> ImageRef: ...

    async def put_labels(self, sha256: str, lines: str) -> None: ...

    async def put_meta(self, meta: SampleMeta) -> None: ...

    async def meta(self, sha256: str) -> SampleMeta | None: ...

    async def remove(self, sha256: str, media_type: str) -> None:
        """Delete the sample's three objects. A missing object is no error."""
        ...


class SampleState(StrEnum):
    """State of a sample: claimed → stored ⇄ withdrawn."""

    CLAIMED = "claimed"
    """A scan owns these bytes and has a split; its objects are being written."""
    STORED = "stored"
    WITHDRAWN = "withdrawn"
    """The newest confirmation gives no usable labels. The split is kept for the next one."""


@dataclass(frozen=True)
class Sample:
    """A sample as the database knows it."""

    sha256: str
    source_sha256: str
    """Of the scan's photo. Differs from `sha256` only where the photo was turned upright."""
    scan_id: str
    subject: str
    anonymous: bool
    split: Split
    media_type: str
    bytes: int
    fingerprint: Fingerprint
    claimed_at: datetime
    state: SampleState = SampleState.CLAIMED
    crossing: int = 0
    """How often the training threshold had been reached when the sample was stored."""
    revision: int = 0
    """Of the newest confirmation that was applied; 0 before the first."""
    stored: SampleStored | None = None
    """The newest event; None before the sample is stored."""


@dataclass(frozen=True)
class Rejection:
    """The newest rejection of a scan."""

    confirmed: ScanConfirmed
    reason: str
    """A `RejectionReason`, or a reason that a later release stored."""
    detail: str
    rejected_at: datetime
    pending: bool
    """Whether the photo may still become a sample: after a new class, a correction or an engineer's decision."""


@dataclass(frozen=True)
class Counts:
    """Totals of a data set, for the storage limit and the training threshold."""

    dataset: str
    samples: int = 0
    bytes: int = 0
    """Of sample images."""
    new_samples: int = 0
    """Samples since the threshold was reached last."""
    threshold_count: int = 0
    """How often the threshold was reached."""
    counting_since: datetime | None = None
    """When the threshold was reached last or, before that, when the first sample was stored."""


@dataclass(frozen=True)
class UnknownLabelCounts:
    """How often a label without a class was confirmed."""

    users: int
    """Different subjects. Anonymous scans count none: they may all be of one person."""
    samples: int


class Transaction(Protocol):
    """One database transaction. Transactions of all replicas run one after another."""

    async def erasure_cause(self, scan_id: str, subject: str) -> ErasureCause | None:
        """Whether the scan or its subject was erased; None when neither was."""
        ...

    async def record_erased(self, *, scan_id: str | None = None, subject: str | None = None, at: datetime) -> None: ...

    async def record_erased_sample(self, sample: Sample, at: datetime) -> None:
        """Note the sample's object keys, so that a collection that is still writing them can delete them."""
        ...

    async def erased_objects(self, scan_id: str) -> tuple[str, str] | None:
        """sha256 and media type of an erased scan's sample; None without one, or when another scan owns the bytes."""
        ...

    async def sample_of_photo(self, *sha256: str) -> Sample | None:
        """The sample with one of these hashes, of the scan's photo or of the sample itself."""
        ...

    async def sample_of_scan(self, scan_id: str) -> Sample | None: ...
    async def samples_of_subject(self, subject: str) -> Sequence[Sample]: ...
    async def near_duplicates(self, fingerprint: Fingerprint) -> Sequence[Sample]: ...
    async def add(self, sample: Sample) -> None: ...

    async def save(self, sample: Sample) -> None:
        """Update a sample's state, crossing, revision and stored event."""
        ...

    async def delete(self, sample: Sample) -> None: ...

    async def assigned_split(self, subject: str) -> Split | None: ...
    async def assign_split(self, subject: str, split: Split) -> None: ...

    async def claimed_bytes(self, *, except_for: str) -> int:
        """Bytes of the samples that are being written, without the sample of this hash."""
        ...

    async def counts(self) -> Counts: ...
    async def set_counts(self, counts: Counts) -> None: ...

    async def rejection_of(self, scan_id: str) -> Rejection | None: ...
    async def record_rejection(self, rejection: Rejection) -> None: ...
    async def pending_rejections(self, reason: RejectionReason) -> Sequence[Rejection]: ...

    async def pending_scans_of_labels(self, labels: Sequence[str]) -> Sequence[str]:
        """Ids of the scans that are rejected with `needs-class` and for which one of these labels was recorded."""
        ...

    async def delete_rejection(self, scan_id: str) -> None: ...

    async def delete_scan(self, scan_id: str) -> None:
        """Delete a scan's rejection and unknown labels."""
        ...

    async def record_unknown_label(self, label: str, scan_id: str, subject: str | None) -> UnknownLabelCounts:
        """Record a label without a class, once per scan, and count it. `subject` is None for an anonymous scan."""
        ...

    async def delete_subject(self, subject: str) -> None:
        """Delete a subject's rejections, unknown labels, split and consent."""
        ...

    async def record_consent(self, changed: ConsentChanged) -> None:
        """Keep the newest consent of a subject."""
        ...

    async def has_withdrawn_consent(self, subject: str) -> bool: ...

    async def publish(self, event: Event, event_id: UUID) -> None:
        """Publish the event once this transaction is committed, even after a crash."""
        ...


class SampleDatabase(Protocol):
    """The collector's database. Raises `DependencyDownError("database", …)`."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...

    def read_transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that only reads. It takes no lock, so what it reads may change at once."""
        ...
