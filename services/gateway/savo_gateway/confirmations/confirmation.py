"""Confirmation of a scan: the use case, its preconditions, its event and its metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from savo_contracts.scans import ConfirmedItem, ScanCompleted, ScanConfirmed
from savo_gateway.confirmations.records import ConfirmationRequest, Confirmed
from savo_gateway.errors import ScanFailedError, ScanNotCompletedError
from savo_gateway.ports import ScanStore
from savo_gateway.scans.records import Scan, ScanStatus
from savo_gateway.users.consent import effective_consent
from savo_runtime.telemetry.metrics import CONFIRMED_ITEMS, CONFIRMED_SCANS, CORRECTED_SCANS

__all__ = ["ConfirmScan", "check_may_confirm", "confirmed_event", "count_confirmed"]

log = structlog.get_logger()


@dataclass(frozen=True)
class ConfirmScan:
    """Stores a user's confirmation. It is published at once, or with the result where that is still missing."""

    scans: ScanStore
    clock: Callable[[], datetime]

    async def __call__(self, scan_id: str, request: ConfirmationRequest) -> Scan:
        """Raises `ScanNotFoundError`, `ScanFailedError`, `ScanNotCompletedError`, `NotInAnswerError`."""
        confirmed = await self.scans.confirm(scan_id, request, self.clock())
        count_confirmed(confirmed)
        return confirmed.scan


def check_may_confirm(scan: Scan, request: ConfirmationRequest) -> None:
    """Raises `ScanFailedError` and `ScanNotCompletedError`."""
    if scan.status is ScanStatus.FAILED:
        raise ScanFailedError(scan.scan_id, scan.error.code if scan.error else "failed")
    if request.all_correct and scan.result is None:
        raise ScanNotCompletedError(scan.scan_id)


def confirmed_event(
    scan: Scan,
    result: ScanCompleted,
    items: tuple[ConfirmedItem, ...],
    nothing_missing: bool,
    *,
    consent: bool | None,
    revision: int,
    now: datetime,
) -> ScanConfirmed:
    """`scans.confirmed`: the route of the result with the confirmed items. `consent`: the person's."""
    return ScanConfirmed(
        scan_id=scan.scan_id,
        subject=scan.subject,
        anonymous=scan.anonymous,
        image=scan.image,
        # Rollout counts no event without an experiment: anyone can send a confirmation where no key is required.
        experiment=None if scan.open_access else result.experiment,
        assigned_arm=result.assigned_arm,
        served_by=result.served_by,
        model_version=result.model_version,
        bucket=result.bucket,
        share=result.share,
        fallback_reason=result.fallback_reason,
        items=items,
        nothing_missing=nothing_missing,
        consent=effective_consent(scan.consent, consent),
        storage_location=scan.storage_location,
        revision=revision,
        confirmed_at=now,
    )


def count_confirmed(confirmed: Confirmed) -> None:
    """Log and count the event that a write published, if any."""
    event = confirmed.event
    if event is None:
        return
    log.info("scan.confirmed", scan_id=event.scan_id, revision=event.revision, items=len(event.items))
    arm = event.assigned_arm.value
    CONFIRMED_SCANS.labels(arm).inc(confirmed.is_first)
    CORRECTED_SCANS.labels(arm).inc(confirmed.newly_edited)
    for item in confirmed.changed_items:
        CONFIRMED_ITEMS.labels(assigned_arm=arm, action=item.action.value).inc()
