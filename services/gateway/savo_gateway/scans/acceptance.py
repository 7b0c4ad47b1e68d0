"""A scan as the gateway knows it, and how one is accepted."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

import structlog

from savo_contracts.envelope import ImageRef
from savo_contracts.scans import ConfirmedItem, FailureCode, ScanCompleted, ScanRequested, StorageLocation
from savo_gateway.access.callers import Person
from savo_gateway.errors import IdempotencyInProgressError, PhotoGoneError
from savo_gateway.photos.uploads import Photo, UploadLimits, prepare
from savo_gateway.ports import Photos, ScanStore
from savo_runtime.storage.port import ObjectNotFoundError

__all__ = [
    "SCAN_ID",
    "AcceptScan",
    "Confirmation",
    "IdempotencyClaim",
    "NewScan",
    "ReadPhoto",
    "RefusedWord",
    "Scan",
    "ScanError",
    "ScanOrder",
    "ScanPolicy",
    "ScanStatus",
    "TakePhoto",
    "is_scan_id",
    "requested",
]


log = structlog.get_logger()

SCAN_ID = r"^[A-Za-z0-9_.:-]{1,64}$"


def is_scan_id(text: str) -> bool:
    return re.fullmatch(SCAN_ID, text) is not None


class ScanStatus(StrEnum):
    QUEUED = "queued"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True)
class ScanError:
    code: FailureCode
    message: str


@dataclass(frozen=True)
class RefusedWord:
    """What was said before the result, and cannot be said of it."""

    revision: int
    errors: tuple[tuple[str, str], ...]
    """Field and what is wrong with it."""


@dataclass(frozen=True)
class Confirmation:
    """What the user said last, merged over all that was said before."""

    revision: int
    published: bool
    """False: it came before the result and waits for it."""
    items: tuple[ConfirmedItem, ...]
    nothing_missing: bool
    confirmed_at: datetime
    unspoken: tuple[str, ...] = ()
    """Labels of the answer that nobody spoke of."""
    refused: tuple[RefusedWord, ...] = ()

    @property
    def counts(self) -> bool:
        """False: all that was said came before the result and does not fit it."""
        return self.published or not self.refused


@dataclass(frozen=True)
class Scan:
    """One scan with all that is known of it now."""

    scan_id: str
    subject: str
    anonymous: bool
    status: ScanStatus
    image: ImageRef
    storage_location: StorageLocation | None
    consent: bool | None
    captured_at: datetime | None
    requested_at: datetime
    expires_at: datetime
    result: ScanCompleted | None = None
    error: ScanError | None = None
    finished_at: datetime | None = None
    """When the gateway learned of the end."""
    confirmation: Confirmation | None = None

    @property
    def done(self) -> bool:
        return self.status is not ScanStatus.QUEUED


@dataclass(frozen=True)
class IdempotencyClaim:
    """One caller's key, and a hash of everything else that was sent."""

    scope: str
    """Hash of the caller: each has keys of their own."""
    key: str
    fingerprint: str


@dataclass(frozen=True)
class ScanOrder:
    """What a caller sends."""

    data: bytes
    person: Person | None = None
    storage_location: StorageLocation | None = None
    consent: bool | None = None
    captured_at: datetime | None = None
    device_info: str | None = None
    caller: str = ""
    """Who authenticated; keeps callers' idempotency keys apart."""
    idempotency_key: str | None = None

    def claim(self) -> IdempotencyClaim | None:
        if self.idempotency_key is None:
            return None
        told = [self.person and (self.person.kind, self.person.reference), self.storage_location, self.consent, str(self.captured_at), self.device_info]
        fingerprint = sha256(sha256(self.data).digest() + json.dumps(told).encode()).hexdigest()
        return IdempotencyClaim(sha256(self.caller.encode()).hexdigest(), self.idempotency_key, fingerprint)


@dataclass(frozen=True)
class NewScan:
    """What the store writes in one transaction, the event included."""

    scan_id: str
    photo: Photo
    person: Person | None
    storage_location: StorageLocation | None
    consent: bool | None
    captured_at: datetime | None
    device_info: str | None
    requested_at: datetime
    expires_at: datetime
    claim: IdempotencyClaim | None


@dataclass(frozen=True)
class ScanPolicy:
    expires_after: timedelta = timedelta(seconds=120)
    idempotency_wait: float = 5.0
    """Seconds that an equal request waits for the first one's answer."""


@dataclass(frozen=True)
class TakePhoto:
    """Check a photo, cut its metadata and put it under its hash. A few at a time: decoding takes a core and memory."""

    photos: Photos
    limits: UploadLimits
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))

    async def __call__(self, data: bytes) -> Photo:
        async with self.slots:
            photo = await asyncio.to_thread(prepare, data, self.limits)
        await self.photos.put_if_absent(photo.ref.key, photo.data, media_type=photo.media_type)
        return photo


@dataclass(frozen=True)
class ReadPhoto:
    """The photo as it is stored: without metadata, and a HEIC as the JPEG that it became."""

    photos: Photos

    async def __call__(self, scan: Scan) -> bytes:
        """Raises `PhotoGoneError`."""
        try:
            return await self.photos.get(scan.image.key)
        except ObjectNotFoundError as gone:
            raise PhotoGoneError(scan.scan_id) from gone


@dataclass(frozen=True)
class AcceptScan:
    """From an order to a scan that waits for its detection. The same order under the same key is the same scan."""

    take_photo: TakePhoto
    scans: ScanStore
    policy: ScanPolicy
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    _first: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)

    async def __call__(self, order: ScanOrder) -> Scan:
        """Raises `UploadRefusedError`, `IdempotencyKeyReusedError`, `IdempotencyInProgressError`."""
        claim = order.claim()
        if claim is None:
            return await self._accept(order, None)
        turn = self._first.setdefault((claim.scope, claim.key), asyncio.Lock())
        try:
            async with asyncio.timeout(self.policy.idempotency_wait):
                await turn.acquire()
        except TimeoutError:
            raise IdempotencyInProgressError from None
        try:
            return await self.scans.claimed(claim) or await self._accept(order, claim)
        finally:
            turn.release()
            self._forget(claim, turn)

    async def _accept(self, order: ScanOrder, claim: IdempotencyClaim | None) -> Scan:
        now = self.clock()
        photo = await self.take_photo(order.data)
        told = (order.storage_location, order.consent, order.captured_at, order.device_info)
        scan = await self.scans.accept(NewScan(self.new_id(), photo, order.person, *told, now, now + self.policy.expires_after, claim))
        log.info("scan.accepted", scan_id=scan.scan_id, media_type=photo.media_type, bytes=len(photo.data), width=photo.width, height=photo.height)
        return scan

    def _forget(self, claim: IdempotencyClaim, turn: asyncio.Lock) -> None:
        # The last one out takes the lock along; those who still wait hold a reference of their own.
        if not turn.locked() and not getattr(turn, "_waiters", None):
            self._first.pop((claim.scope, claim.key), None)


def requested(scan: Scan) -> ScanRequested:
    """The event that asks vision for an answer."""
    return ScanRequested(
        scan_id=scan.scan_id,
        subject=scan.subject,
        anonymous=scan.anonymous,
        image=scan.image,
        storage_location=scan.storage_location,
        consent=scan.consent,
        captured_at=scan.captured_at,
        requested_at=scan.requested_at,
        expires_at=scan.expires_at,
    )
