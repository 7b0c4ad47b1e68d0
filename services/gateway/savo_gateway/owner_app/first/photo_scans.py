"""POST /inventory/scan: a scan like any other, answered within the app's time limit; look-alike frames share one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from savo_gateway.errors import ScanNotFoundError
from savo_gateway.owner_app.first.live_frames import Frame, LiveFrames, frame_of
from savo_gateway.owner_app.open_access import DailyBudget
from savo_gateway.owner_app.records import ScanCopy
from savo_gateway.photos.storage import StorePhoto
from savo_gateway.photos.uploads import Photo
from savo_gateway.ports import AppScans
from savo_gateway.scans.acceptance import AcceptScan
from savo_gateway.scans.long_polling import WaitForScan
from savo_gateway.scans.records import Scan, ScanDetails, ScanStatus

__all__ = ["ScanAppPhoto"]

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ScanAppPhoto:
    """A photo or a frame of the live camera becomes a scan, or a copy of the scan of a look-alike frame."""

    store_photo: StorePhoto
    accept: AcceptScan
    wait: WaitForScan
    frames: LiveFrames
    app_scans: AppScans
    budget: DailyBudget
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    async def __call__(self, data: bytes, details: ScanDetails, source: str, *, within: float) -> Scan:
        """The finished scan, or the scan as it is after `within` seconds.

        Raises `UploadRefusedError` and, without a key, `AppBudgetSpentError`.
        """
        deadline = asyncio.get_running_loop().time() + within
        photo = await self.store_photo.check(data)
        frame = await asyncio.to_thread(frame_of, photo)
        while True:
            scan_id, is_own = await self._scan_of(photo, frame, details, source)
            scan = await self._finished(scan_id, max(0.0, deadline - asyncio.get_running_loop().time()))
            if is_own and scan:
                return scan
            if scan and scan.status is ScanStatus.COMPLETED:
                return await self._copy(scan, photo, details)
            if scan and not scan.done:
                return scan
            self.frames.drop(source, scan_id)

    async def _scan_of(self, photo: Photo, frame: Frame, details: ScanDetails, source: str) -> tuple[str, bool]:
        """The id of the scan of this frame or of a look-alike, and whether it is this frame's own."""
        async with self.frames.lock(source):
            if scan_id := self.frames.find(source, frame):
                return scan_id, False
            if details.open_access:
                await self.budget.check()
            scan = await self.accept.of_photo(photo, details)
            self.frames.add(source, frame, scan.scan_id)
            return scan.scan_id, True

    async def _finished(self, scan_id: str, seconds: float) -> Scan | None:
        """None where the scan was erased in the meantime."""
        try:
            return await self.wait(scan_id, seconds)
        except ScanNotFoundError:
            return None

    async def _copy(self, original: Scan, photo: Photo, details: ScanDetails) -> Scan:
        copy = ScanCopy(
            scan_id=self.new_id(),
            upload_sha256=photo.upload_sha256,
            details=details,
            requested_at=self.clock(),
        )
        scan = await self.app_scans.copy(original, copy)
        log.info("scan.copied", scan_id=scan.scan_id, copied_from=original.scan_id)
        return scan
