"""POST /api/scanning/analyze-image: a scan that the app waits for, and that its retries join."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256

from savo_contracts.scans import FailureCode, StorageLocation
from savo_gateway.errors import AnalysisFailedError, ScanUnansweredError
from savo_gateway.ports import ScanStore
from savo_gateway.scans.acceptance import AcceptScan
from savo_gateway.scans.long_polling import WaitForScan
from savo_gateway.scans.records import Scan, ScanStatus, ScanUpload

__all__ = ["ANSWER_SECONDS", "AnalyzeImage", "location_of"]

ANSWER_SECONDS = 25.0
"""The app gives up after 30 s; before that it must have an answer."""

SAME_SCAN_WITHIN = timedelta(minutes=10)
"""The app retries without an Idempotency-Key: the same photo of the same person is the same scan for this time."""

_FAULTS_OF_THE_PHOTO = {FailureCode.PHOTO_MISSING, FailureCode.PHOTO_UNREADABLE, FailureCode.PROVIDER_REFUSED}
"""Sending the same photo again gives the same failure."""

_LOCATIONS = {
    "pantry": StorageLocation.PANTRY,
    "fridge": StorageLocation.FRIDGE,
    "refrigerator": StorageLocation.FRIDGE,
    "freezer": StorageLocation.FREEZER,
}


def location_of(scan_type: str | None, hint: str | None) -> StorageLocation | None:
    """Where the photo was taken. A counter or a shopping bag is no storage location, but the hint may name one."""
    named = (text.strip().lower() for text in (scan_type, hint) if text)
    return next((_LOCATIONS[name] for name in named if name in _LOCATIONS), None)


@dataclass(frozen=True)
class AnalyzeImage:
    """Scans a photo and waits for the result."""

    accept: AcceptScan
    wait: WaitForScan
    scans: ScanStore
    clock: Callable[[], datetime]

    async def __call__(self, upload: ScanUpload, started: float) -> Scan:
        """The completed scan. `started`: the request's, by the event loop's clock.

        Raises `ScanUnansweredError` 25 s after `started`, `AnalysisFailedError`, and as `AcceptScan` does.
        """
        scan = await self._joined_or_accepted(upload)
        seconds = max(0.0, started + ANSWER_SECONDS - asyncio.get_running_loop().time())
        scan = scan if scan.done else await self.wait(scan.scan_id, seconds, known=scan)
        if not scan.done:
            raise ScanUnansweredError(scan.scan_id)
        if scan.status is ScanStatus.FAILED:
            code = scan.error.code if scan.error else "failed"
            raise AnalysisFailedError(scan.scan_id, code, retry=code not in _FAULTS_OF_THE_PHOTO)
        return scan

    async def _joined_or_accepted(self, upload: ScanUpload) -> Scan:
        person = upload.details.person
        if person is None:
            return await self.accept(upload)
        digest = sha256(upload.data).hexdigest()
        newest = await self.scans.newest_of_photo(person, digest)
        if newest and self._is_joinable(newest):
            return newest
        # The claim decides between equal requests at the same time: both name the same earlier scan.
        key = f"photo/{digest}/{newest.scan_id if newest else ''}"
        return await self.accept(replace(upload, idempotency_key=key))

    def _is_joinable(self, scan: Scan) -> bool:
        now = self.clock()
        expired = scan.status is ScanStatus.QUEUED and scan.expires_at <= now
        return scan.status is not ScanStatus.FAILED and not expired and scan.requested_at > now - SAME_SCAN_WITHIN
