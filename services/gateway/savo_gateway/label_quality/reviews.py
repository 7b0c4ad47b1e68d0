"""Use cases of /admin/review: the queue of doubtful photos, and decisions on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from savo_gateway.errors import ReviewNotFoundError
from savo_gateway.label_quality.records import Agreement, QueueEntry, Review, ReviewRequest
from savo_gateway.ports import Reviews, ScanStore
from savo_gateway.scans.records import Scan

__all__ = ["DecideReview", "QueuedPhoto", "ShowReviewQueue"]

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class QueuedPhoto:
    """An entry of the queue with its scan."""

    entry: QueueEntry
    scan: Scan
    agreement: Agreement | None
    """Of the user's earlier labels; None before the first review of one."""


@dataclass(frozen=True)
class ShowReviewQueue:
    """A page of the queue, the greatest doubt first."""

    reviews: Reviews
    scans: ScanStore

    async def __call__(self, *, after: tuple[float, str] | None, limit: int) -> Sequence[QueuedPhoto]:
        entries = await self.reviews.queue(after=after, limit=limit)
        subjects = {entry.subject for entry in entries}
        agreements = await self.reviews.agreements(subjects=subjects, limit=len(subjects)) if subjects else ()
        by_subject = {agreement.subject: agreement for agreement in agreements}
        found = [(entry, await self.scans.find(entry.scan_id)) for entry in entries]
        return [
            QueuedPhoto(entry=entry, scan=scan, agreement=by_subject.get(entry.subject))
            for entry, scan in found
            if scan is not None
        ]

    async def scan_of(self, scan_id: str) -> Scan:
        """The scan of a queued photo. Raises `ReviewNotFoundError`: other photos are not shown to engineers."""
        scan = await self.scans.find(scan_id) if await self.reviews.find(scan_id) else None
        if scan is None:
            raise ReviewNotFoundError(scan_id)
        return scan


@dataclass(frozen=True)
class DecideReview:
    """Stores an engineer's decision and publishes it as the newest confirmation of the scan."""

    reviews: Reviews
    clock: Callable[[], datetime]

    async def __call__(self, scan_id: str, request: ReviewRequest, reviewer: str) -> Review:
        """Raises `ReviewNotFoundError`, `ReviewDecidedError`, `ReviewOutdatedError`, `DecisionNotAllowedError`."""
        review = await self.reviews.decide(scan_id, request, reviewer, self.clock())
        log.info("review.decided", scan_id=scan_id, decision=request.decision.value, revision=review.revision)
        return review
