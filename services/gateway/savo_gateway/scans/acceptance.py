"""Acceptance of a scan: store the photo, then write the scan and `scans.requested` in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

import structlog

from savo_contracts.scans import ScanRequested
from savo_gateway.errors import IdempotencyInProgressError
from savo_gateway.photos.storage import StorePhoto
from savo_gateway.photos.uploads import Photo
from savo_gateway.ports import ScanStore
from savo_gateway.scans.records import IdempotencyClaim, NewScan, Scan, ScanDetails, ScanUpload

__all__ = ["AcceptScan", "ScanPolicy", "requested_event"]

log = structlog.get_logger()


@dataclass(frozen=True)
class ScanPolicy:
    """Time limits of accepting a scan."""

    expires_after: timedelta = timedelta(seconds=120)
    idempotency_wait: float = 5.0
    """Seconds that an equal request waits for the first one's answer."""


@dataclass(frozen=True)
class AcceptScan:
    """Makes a queued scan of an upload. The same upload with the same Idempotency-Key returns the same scan.

    Equal uploads to one replica wait for the first. Across replicas the database decides.
    """

    store_photo: StorePhoto
    scans: ScanStore
    policy: ScanPolicy
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    _locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """By claim, while a request holds or awaits the lock."""

    async def __call__(self, upload: ScanUpload) -> Scan:
        """Raises `UploadRefusedError`, `IdempotencyKeyReusedError`, `IdempotencyInProgressError`."""
        claim = upload.claim()
        if claim is None:
            return await self._accept(upload, None)
        lock = self._locks.setdefault((claim.scope, claim.key), asyncio.Lock())
        try:
            async with asyncio.timeout(self.policy.idempotency_wait):
                await lock.acquire()
        except TimeoutError:
            raise IdempotencyInProgressError from None
        try:
            return await self.scans.claimed(claim) or await self._accept(upload, claim)
        finally:
            lock.release()

    async def of_photo(self, photo: Photo, details: ScanDetails, claim: IdempotencyClaim | None = None) -> Scan:
        """A queued scan of a photo that was checked before."""
        now = self.clock()
        await self.store_photo.put(photo)
        new = NewScan(
            scan_id=self.new_id(),
            photo=photo,
            details=details,
            requested_at=now,
            expires_at=now + self.policy.expires_after,
            claim=claim,
        )
        scan = await self.scans.accept(new)
        log.info(
            "scan.accepted",
            scan_id=scan.scan_id,
            media_type=photo.media_type,
            bytes=len(photo.data),
            width=photo.width,
            height=photo.height,
        )
        return scan

    async def _accept(self, upload: ScanUpload, claim: IdempotencyClaim | None) -> Scan:
        return await self.of_photo(await self.store_photo.check(upload.data), upload.details, claim)


def requested_event(scan: Scan) -> ScanRequested:
    """The event that asks vision for a result."""
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
