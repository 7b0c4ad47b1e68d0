"""Completion of scans: results, failures and expiry, and the requests that a restarted broker lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from savo_contracts.scans import FailureCode, ScanCompleted, ScanFailed
from savo_gateway.confirmations.confirmation import count_confirmed
from savo_gateway.ports import ScanStore
from savo_gateway.scans.confirmation_asks import ConfirmationAsks
from savo_gateway.scans.long_polling import Waiters
from savo_gateway.scans.records import Scan

__all__ = ["ExpireScans", "FinishScans"]

log = structlog.get_logger()


@dataclass(frozen=True)
class FinishScans:
    """The projection of scans.completed and scans.failed. A repeated event changes nothing."""

    scans: ScanStore
    waiters: Waiters
    clock: Callable[[], datetime]
    asks: ConfirmationAsks | None = None
    """None: no answer has ask_confirmation."""

    async def complete(self, completed: ScanCompleted) -> None:
        ask = await self.asks.limits_for(completed) if self.asks else None
        confirmed = await self.scans.complete(completed, self.clock(), ask=ask)
        if confirmed is None:
            reason = await self._ignored_reason(completed.scan_id)
            log.info("scan.completion_ignored", scan_id=completed.scan_id, reason=reason)
            return
        log.info("scan.completed", scan_id=completed.scan_id, served_by=completed.served_by, items=len(completed.items))
        count_confirmed(confirmed)
        for refused in confirmed.scan.confirmation.refused if confirmed.scan.confirmation else ():
            log.info(
                "scan.early_confirmation_refused",
                scan_id=completed.scan_id,
                revision=refused.revision,
                errors=refused.errors,
            )
        self.waiters.wake(completed.scan_id, confirmed.scan)

    async def fail(self, failed: ScanFailed) -> None:
        if not await self.scans.fail(failed, self.clock()):
            reason = await self._ignored_reason(failed.scan_id)
            log.info("scan.failure_ignored", scan_id=failed.scan_id, reason=reason)
            return
        log.info("scan.failed", scan_id=failed.scan_id, code=failed.code)
        self.waiters.wake(failed.scan_id)

    async def _ignored_reason(self, scan_id: str) -> str:
        return "already_finished" if await self.scans.find(scan_id) else "unknown_scan"


@dataclass(frozen=True)
class ExpireScans:
    """Fails the scans that vision did not answer in time."""

    scans: ScanStore
    finish: FinishScans
    clock: Callable[[], datetime]
    grace: timedelta = timedelta(seconds=30)
    """Time after `expires_at`, so that vision's own failure of a late scan comes first."""
    claims_kept: timedelta = timedelta(hours=24)
    """How long idempotency keys are kept."""

    async def sweep(self) -> int:
        """Returns the number of failed scans."""
        now = self.clock()
        late = await self.scans.unfinished(expired_before=now - self.grace)
        for scan in late:
            await self.finish.fail(_expired(scan, now))
        await self.scans.delete_claims(now - self.claims_kept)
        return len(late)

    async def republish(self) -> None:
        """At a start with the embedded broker: publish queued scans again, and fail those that expired."""
        now = self.clock()
        queued = await self.scans.unfinished(limit=10_000)
        for scan in queued:
            if scan.expires_at <= now:
                await self.finish.fail(_expired(scan, now))
            else:
                await self.scans.republish(scan)
        if queued:
            log.info("scans.republished", count=len(queued))


def _expired(scan: Scan, now: datetime) -> ScanFailed:
    return ScanFailed(
        scan_id=scan.scan_id,
        subject=scan.subject,
        code=FailureCode.EXPIRED,
        message="vision did not answer in time; send the photo again",
        requested_at=scan.requested_at,
        failed_at=now,
    )
