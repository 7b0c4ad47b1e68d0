"""How scans come to their end: answered, failed, expired, confirmed; and what a start does with those that were left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from savo_contracts.scans import FailureCode, ScanCompleted, ScanFailed
from savo_gateway.confirmations.confirmation import ConfirmationRequest, Confirmed
from savo_gateway.ports import ScanStore
from savo_gateway.scans.acceptance import Scan
from savo_gateway.scans.long_polling import Wakes
from savo_runtime.telemetry.metrics import CONFIRMED_ITEMS, CONFIRMED_SCANS, CORRECTED_SCANS

__all__ = ["ConfirmScan", "FinishScans", "SweepScans"]

log = structlog.get_logger()


@dataclass(frozen=True)
class FinishScans:
    """The projection of scans.completed and scans.failed. The same event again changes nothing."""

    scans: ScanStore
    wakes: Wakes
    clock: Callable[[], datetime]

    async def complete(self, completed: ScanCompleted) -> None:
        confirmed = await self.scans.complete(completed, self.clock())
        if confirmed is None:
            log.info("scan.completion_ignored", scan_id=completed.scan_id, reason="unknown here, or it had its end before")
            return
        log.info("scan.completed", scan_id=completed.scan_id, served_by=completed.served_by.value, items=len(completed.items))
        _tell(confirmed)
        for word in confirmed.scan.confirmation.refused if confirmed.scan.confirmation else ():
            log.info("scan.early_confirmation_refused", scan_id=completed.scan_id, revision=word.revision, errors=word.errors)
        self.wakes.wake(completed.scan_id, confirmed.scan)

    async def fail(self, failed: ScanFailed) -> None:
        if not await self.scans.fail(failed, self.clock()):
            log.info("scan.failure_ignored", scan_id=failed.scan_id, reason="unknown here, or it had its end before")
            return
        log.info("scan.failed", scan_id=failed.scan_id, code=failed.code.value)
        self.wakes.wake(failed.scan_id)


@dataclass(frozen=True)
class ConfirmScan:
    scans: ScanStore
    clock: Callable[[], datetime]

    async def __call__(self, scan_id: str, request: ConfirmationRequest) -> Scan:
        """Raises `ScanNotFoundError`, `ScanFailedError`, `ScanNotCompletedError`, `NotInAnswerError`."""
        confirmed = await self.scans.confirm(scan_id, request, self.clock())
        _tell(confirmed)
        return confirmed.scan


@dataclass(frozen=True)
class SweepScans:
    """Nobody waits for ever: what vision never answered fails here."""

    scans: ScanStore
    finish: FinishScans
    clock: Callable[[], datetime]
    grace: timedelta = timedelta(seconds=30)
    """Past `expires_at`: vision's own word on a late scan comes first."""
    claims_live: timedelta = timedelta(hours=24)

    async def sweep(self) -> int:
        """How many scans were given up."""
        now = self.clock()
        late = await self.scans.unfinished(expired_before=now - self.grace)
        for scan in late:
            await self.finish.fail(_expired(scan, now))
        await self.scans.forget_claims(now - self.claims_live)
        return len(late)

    async def republish(self) -> None:
        """For a broker that forgets: ask again for what nobody answered, and fail what is too late."""
        now = self.clock()
        waiting = await self.scans.unfinished(limit=10_000)
        for scan in waiting:
            if scan.expires_at <= now:
                await self.finish.fail(_expired(scan, now))
            else:
                await self.scans.republish(scan)
        if waiting:
            log.info("scans.republished", scans=len(waiting))


def _expired(scan: Scan, now: datetime) -> ScanFailed:
    message = "no answer came in time; send the photo again"
    return ScanFailed(scan_id=scan.scan_id, subject=scan.subject, code=FailureCode.EXPIRED, message=message, requested_at=scan.requested_at, failed_at=now)


def _tell(confirmed: Confirmed) -> None:
    if confirmed.event is None:
        return
    log.info("scan.confirmed", scan_id=confirmed.scan.scan_id, revision=confirmed.event.revision, items=len(confirmed.event.items))
    arm = confirmed.event.assigned_arm.value
    CONFIRMED_SCANS.labels(arm).inc(confirmed.is_first)
    CORRECTED_SCANS.labels(arm).inc(confirmed.newly_edited)
    for item in confirmed.news:
        CONFIRMED_ITEMS.labels(assigned_arm=arm, action=item.action.value).inc()
