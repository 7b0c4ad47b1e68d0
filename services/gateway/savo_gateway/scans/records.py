"""Data types of a scan: the upload as sent, the new scan as stored, the scan with result and confirmation."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from savo_contracts.envelope import ImageRef
from savo_contracts.scans import ConfirmedItem, ScanCompleted, StorageLocation
from savo_gateway.access.records import Person
from savo_gateway.photos.uploads import Photo

__all__ = [
    "SCAN_ID",
    "AskLimits",
    "Confirmation",
    "EventPosition",
    "IdempotencyClaim",
    "NewScan",
    "RefusedConfirmation",
    "Scan",
    "ScanDetails",
    "ScanError",
    "ScanStatus",
    "ScanUpload",
    "is_scan_id",
]

SCAN_ID = r"^[A-Za-z0-9_.:-]{1,64}$"


def is_scan_id(text: str) -> bool:
    return re.fullmatch(SCAN_ID, text) is not None


@dataclass(frozen=True)
class IdempotencyClaim:
    """A caller's Idempotency-Key, with a hash of the rest of the request."""

    scope: str
    """Hash of the caller, so that keys of different callers are independent."""
    key: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class ScanDetails:
    """What the caller sends beside the photo."""

    person: Person | None = None
    """None: the scan is anonymous."""
    storage_location: StorageLocation | None = None
    consent: bool | None = None
    """To train with this photo; None where the user was not asked."""
    captured_at: datetime | None = None
    device_info: str | None = None
    open_access: bool = False
    """The caller has no key (SAVO_APP_ANONYMOUS): the scan is anonymous, and its confirmation is no evidence."""


@dataclass(frozen=True, kw_only=True)
class ScanUpload:
    """A photo to scan, as a caller sends it."""

    data: bytes
    """The file as received, metadata included."""
    details: ScanDetails = field(default_factory=ScanDetails)
    caller: str = ""
    """Name of the authenticated caller, for the scope of its idempotency keys."""
    idempotency_key: str | None = None

    def claim(self) -> IdempotencyClaim | None:
        """None without an Idempotency-Key."""
        if self.idempotency_key is None:
            return None
        details = self.details
        facts = [
            details.person and (details.person.kind, details.person.reference),
            details.storage_location,
            details.consent,
            str(details.captured_at),
            details.device_info,
        ]
        fingerprint = sha256(sha256(self.data).digest() + json.dumps(facts).encode()).hexdigest()
        return IdempotencyClaim(sha256(self.caller.encode()).hexdigest(), self.idempotency_key, fingerprint)


@dataclass(frozen=True, kw_only=True)
class NewScan:
    """A scan whose photo is in the object store, to be written with `scans.requested` in one transaction."""

    scan_id: str
    photo: Photo
    details: ScanDetails
    requested_at: datetime
    expires_at: datetime
    claim: IdempotencyClaim | None = None


@dataclass(frozen=True)
class AskLimits:
    """The most answers that the app asks about."""

    per_minute: int
    per_day: int
    """UTC."""


class ScanStatus(StrEnum):
    """State of a scan: queued → completed or failed."""

    QUEUED = "queued"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True)
class ScanError:
    """Why a scan has no result."""

    code: str
    """A `FailureCode`, or one of a later release."""
    message: str


@dataclass(frozen=True)
class RefusedConfirmation:
    """A confirmation that came before the result and does not fit it."""

    revision: int
    errors: tuple[tuple[str, str], ...]
    """Pairs of a field and its error."""


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """A user's confirmation of a scan: all revisions merged, the newest edit of each item counts."""

    revision: int
    published: bool
    """False: it came before the result, and is kept until then."""
    items: tuple[ConfirmedItem, ...]
    nothing_missing: bool
    confirmed_at: datetime
    unspoken: tuple[str, ...] = ()
    """Labels of the result that no edit names: neither right nor wrong."""
    refused: tuple[RefusedConfirmation, ...] = ()

    @property
    def has_effect(self) -> bool:
        """False: every revision came before the result and does not fit it."""
        return self.published or not self.refused


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A scan, with its result and confirmation where there are any."""

    scan_id: str
    subject: str
    """Random name of its person in events; a new one for each anonymous scan."""
    anonymous: bool
    status: ScanStatus
    image: ImageRef
    storage_location: StorageLocation | None
    consent: bool | None
    captured_at: datetime | None
    upload_sha256: str | None = None
    """Of the file as received; None for scans that the app reports."""
    client_scan_id: str | None = None
    """The phone's own id, unique among the scans of its person."""
    copied_from: str | None = None
    """The scan whose photo and items it has, where they are not its own."""
    open_access: bool = False
    """Accepted without a key: its confirmation is no evidence."""
    requested_at: datetime
    expires_at: datetime
    """A scan without a result at this time fails as `expired`."""
    result: ScanCompleted | None = None
    error: ScanError | None = None
    is_asked: bool = False
    """Whether the app should ask its user to confirm the answer."""
    finished_at: datetime | None = None
    """When the gateway received the result or the failure."""
    confirmation: Confirmation | None = None

    @property
    def done(self) -> bool:
        return self.status is not ScanStatus.QUEUED


@dataclass(frozen=True, kw_only=True)
class EventPosition:
    """An event of a scan with its position in Kafka."""

    topic: str
    partition: int
    offset: int
    event_id: str
    published_at: datetime
    heard_at: datetime
    """When the gateway received it or, for its own events, learned that Kafka has it."""
    note: str = ""
    """The event's most important detail, such as the reason of a refusal."""
