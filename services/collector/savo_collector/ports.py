"""What the domain needs from outside, and the records that it keeps there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from savo_collector.duplicates import Fingerprint
from savo_collector.quality import Pixels
from savo_contracts.documents import SampleMeta
from savo_contracts.envelope import Event, ImageRef
from savo_contracts.samples import RejectionReason, SampleStored, Split
from savo_contracts.scans import ScanConfirmed

__all__ = [
    "Counts",
    "Ledger",
    "Photo",
    "PhotoStore",
    "Refusal",
    "Sample",
    "SampleState",
    "SampleStore",
    "Sightings",
    "Transaction",
]


@dataclass(frozen=True)
class Photo:
    """A photo as a sample holds it: upright."""

    sha256: str
    """Of `data`."""
    data: bytes
    media_type: str
    width: int
    height: int
    pixels: Pixels
    """Perhaps a reduced copy, to look at: its longer side is at least 512, or the photo's own."""


class PhotoStore(Protocol):
    async def read(self, image: ImageRef) -> Photo:
        """Upright; encoded anew only when the stored bytes are not. Raises `RefusedError(unreadable)`."""
        ...


class SampleStore(Protocol):
    """The training data in the object store. Raises `StorageFullError`."""

    async def put_image(self, photo: Photo) -> ImageRef: ...

    async def put_labels(self, sha256: str, lines: str) -> None: ...

    async def put_meta(self, meta: SampleMeta) -> None: ...

    async def meta(self, sha256: str) -> SampleMeta | None: ...

    async def remove(self, sha256: str, media_type: str) -> None:
        """All three. Removing what is not there is no error."""
        ...


class SampleState(StrEnum):
    CLAIMED = "claimed"
    """A scan has the right to these bytes and a split; its objects are being written."""
    STORED = "stored"
    WITHDRAWN = "withdrawn"
    """The newest confirmation cannot be learned from. The split is kept for the next one."""


@dataclass(frozen=True)
class Sample:
    sha256: str
    source_sha256: str
    """Of the scan's photo; another one than `sha256` only where the photo had to be turned upright."""
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
    """Calls for training there had been when it was stored."""
    revision: int = 0
    """The newest confirmation that was acted upon; 0 while none was."""
    stored: SampleStored | None = None
    """The newest event; set once stored."""


@dataclass(frozen=True)
class Refusal:
    """The newest refusal of one scan. `waiting` for those that an engineer, or time, can lift."""

    confirmed: ScanConfirmed
    reason: str
    """A `RejectionReason`, or one that a later release stored."""
    detail: str
    rejected_at: datetime
    pending: bool


@dataclass(frozen=True)
class Counts:
    dataset: str
    samples: int = 0
    bytes: int = 0
    """Of sample images."""
    fresh: int = 0
    """Samples since the last call for training."""
    crossings: int = 0
    """Calls for training so far."""
    counting_since: datetime | None = None
    """The last call, or the first sample."""


@dataclass(frozen=True)
class Sightings:
    """How often a word without a class was confirmed."""

    users: int
    """Different named subjects: an anonymous one may be anybody, again and again."""
    samples: int


class Transaction(Protocol):
    """One transaction. Turns of all replicas happen one after another: what one reads stays true until its end."""

    async def is_erased(self, scan_id: str, subject: str) -> bool: ...
    async def record_erased(self, *, scan_id: str | None = None, subject: str | None = None, at: datetime) -> None: ...

    async def record_erased_sample(self, sample: Sample, at: datetime) -> None:
        """Where its objects were: somebody who was writing them meanwhile cleans up by this."""
        ...

    async def erased_objects(self, scan_id: str) -> tuple[str, str] | None:
        """sha256 and media type of the sample that an erased scan had; None when it had none, or another scan owns those bytes now."""
        ...

    async def sample_of_photo(self, *sha256: str) -> Sample | None:
        """By the scan photo's hash or by the sample's own: of any of these."""
        ...

    async def sample_of_scan(self, scan_id: str) -> Sample | None: ...
    async def samples_of_subject(self, subject: str) -> Sequence[Sample]: ...
    async def near_duplicates(self, fingerprint: Fingerprint) -> Sequence[Sample]: ...
    async def add(self, sample: Sample) -> None:
        """A new one."""
        ...

    async def save(self, sample: Sample) -> None:
        """What changed of one that is there: state, crossing, revision, stored."""
        ...

    async def delete(self, sample: Sample) -> None: ...

    async def assigned_split(self, subject: str) -> Split | None: ...
    async def assign_split(self, subject: str, split: Split) -> None: ...

    async def claimed_bytes(self, *, except_for: str) -> int:
        """Bytes of samples that are being written, without the one of this hash."""
        ...

    async def counts(self) -> Counts: ...
    async def set_counts(self, counts: Counts) -> None: ...

    async def refusal_of(self, scan_id: str) -> Refusal | None: ...
    async def refuse(self, refusal: Refusal) -> None: ...
    async def pending_refusals(self, reason: RejectionReason) -> Sequence[Refusal]: ...
    async def delete_refusal(self, scan_id: str) -> None: ...

    async def delete_scan(self, scan_id: str) -> None:
        """Refusal and sightings of an erased scan."""
        ...

    async def add_sighting(self, label: str, scan_id: str, subject: str | None) -> Sightings:
        """Note a word without a class (once a scan) and count it. `subject` is None for an anonymous scan."""
        ...

    async def delete_subject(self, subject: str) -> None:
        """Refusals, sightings and the split of an erased subject."""
        ...

    async def publish(self, event: Event, event_id: UUID) -> None:
        """Published once this transaction is committed, even after a crash."""
        ...


class Ledger(Protocol):
    """Raises `DependencyDownError("database", …)`."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...

    def read_transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Reads only, waits for nobody and holds nobody up; what it reads may change at once."""
        ...
