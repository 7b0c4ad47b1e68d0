"""The review queue and the decisions of engineers, in SQL. Each method is one transaction, its event included."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.envelope import named_id
from savo_contracts.samples import PENDING_REASONS, BoxesProposed, SampleErased, SampleRejected, SampleStored
from savo_contracts.scans import Detection
from savo_gateway.adapters.consent_store import consent_of_subject
from savo_gateway.adapters.rows import locked_scan, next_revision, revisions_of, to_scan
from savo_gateway.adapters.tables import ProposalRow, ReviewQueueRow, ReviewRow, SampleRow, ScanRow
from savo_gateway.errors import ReviewDecidedError, ReviewNotFoundError, ReviewOutdatedError
from savo_gateway.label_quality.decisions import decided_labels, reviewed_event, user_items
from savo_gateway.label_quality.doubts import doubt_of_labels, doubt_of_rejection
from savo_gateway.label_quality.records import Agreement, Doubt, Proposal, QueueEntry, Review, ReviewRequest
from savo_runtime.database import Database, upsert
from savo_runtime.messaging.publishing.outbox import Outbox

__all__ = ["SqlReviews"]

_REQUEST = TypeAdapter(ReviewRequest)
_ITEMS = TypeAdapter(tuple[Detection, ...])


@dataclass(frozen=True)
class SqlReviews:
    """Implements `ports.Reviews`. The methods that begin with `sample_` handle events like `ports.Projections`."""

    database: Database
    outbox: Outbox

    async def sample_stored(self, stored: SampleStored) -> None:
        """Queue a new sample with doubtful labels; remove the photo from the queue when they are not."""
        async with self.database.session() as session:
            newest = await _newest_review(session, stored.scan_id)
            if newest is not None and newest.revision >= stored.revision:
                return  # an engineer decided these labels
            row = await session.get(ScanRow, stored.scan_id)
            scan = to_scan(row, await revisions_of(session, stored.scan_id)) if row else None
            doubt = doubt_of_labels(user_items(scan)) if scan else None
            await _queue(session, stored.scan_id, stored.subject, doubt, stored.revision, stored.stored_at)

    async def sample_rejected(self, rejected: SampleRejected) -> None:
        """Queue a photo that an engineer can make a sample; remove any other from the queue.

        An imported photo has no scan here to confirm: it is imported again with other labels.
        """
        async with self.database.session() as session:
            if await session.get(ScanRow, rejected.scan_id) is None:
                return
            newest = await _newest_review(session, rejected.scan_id)
            sample = await session.get(SampleRow, rejected.sha256)
            is_stored_since = sample and not sample.erased and sample.changed_at >= rejected.rejected_at
            if is_stored_since or (newest is not None and newest.decided_at >= rejected.rejected_at):
                return
            doubt = doubt_of_rejection(rejected) if rejected.reason in PENDING_REASONS else None
            revisions = await revisions_of(session, rejected.scan_id)
            revision = revisions[-1].revision if revisions else 0
            await _queue(session, rejected.scan_id, rejected.subject, doubt, revision, rejected.rejected_at)

    async def sample_erased(self, erased: SampleErased) -> None:
        async with self.database.session() as session:
            gone = delete(ReviewQueueRow).where(ReviewQueueRow.scan_id == erased.scan_id)
            await session.execute(gone.where(ReviewQueueRow.queued_at <= erased.erased_at))

    async def propose(self, proposed: BoxesProposed) -> None:
        values = {
            "subject": proposed.subject,
            "model_version": proposed.model_version,
            "items": [item.model_dump(mode="json") for item in proposed.items],
            "proposed_at": proposed.proposed_at,
        }
        async with self.database.session() as session:
            known = await session.get(ProposalRow, proposed.scan_id)
            if known is None or known.proposed_at <= proposed.proposed_at:
                await upsert(session, ProposalRow, {"scan_id": proposed.scan_id, **values}, ["scan_id"])

    async def queue(self, *, after: tuple[float, str] | None, limit: int) -> Sequence[QueueEntry]:
        query = select(ReviewQueueRow).order_by(ReviewQueueRow.doubt.desc(), ReviewQueueRow.scan_id.desc()).limit(limit)
        if after:
            query = query.where(tuple_(ReviewQueueRow.doubt, ReviewQueueRow.scan_id) < tuple_(*after))
        async with self.database.session(read_only=True) as session:
            rows = (await session.scalars(query)).all()
            proposals = await session.scalars(
                select(ProposalRow).where(ProposalRow.scan_id.in_([row.scan_id for row in rows]))
            )
            by_scan = {proposal.scan_id: proposal for proposal in proposals}
            return [_to_entry(row, by_scan.get(row.scan_id)) for row in rows]

    async def find(self, scan_id: str) -> QueueEntry | None:
        async with self.database.session(read_only=True) as session:
            return await _entry(session, scan_id)

    async def decide(self, scan_id: str, request: ReviewRequest, reviewer: str, now: datetime) -> Review:
        async with self.database.session() as session:
            row = await locked_scan(session, scan_id)
            entry = await _entry(session, scan_id)
            if row is None or entry is None:
                return _repeated(await _newest_review(session, scan_id), scan_id, request)
            if request.revision is not None and request.revision != entry.revision:
                raise ReviewOutdatedError(scan_id, entry.revision)
            revisions = await revisions_of(session, scan_id)
            scan = to_scan(row, revisions)
            labels, revision = decided_labels(scan, entry, request), await next_revision(session, scan_id, revisions)
            consent = await consent_of_subject(session, scan.subject)
            event = reviewed_event(scan, labels, consent=consent, revision=revision, now=now)
            await self.outbox.add(session, event, event_id=named_id(f"scan-confirmed/{scan_id}/{revision}"))
            review = ReviewRow(
                scan_id=scan_id,
                revision=revision,
                subject=scan.subject,
                reviewer=reviewer,
                request=_REQUEST.dump_python(request, mode="json"),
                agreed=labels.agreed,
                boxes=labels.boxes,
                decided_at=now,
            )
            session.add(review)
            await session.execute(delete(ReviewQueueRow).where(ReviewQueueRow.scan_id == scan_id))
            return _to_review(review)

    async def agreements(self, *, subjects: Collection[str] | None = None, limit: int = 100) -> Sequence[Agreement]:
        agreed, boxes = func.sum(ReviewRow.agreed), func.sum(ReviewRow.boxes)
        share = agreed * 1.0 / func.nullif(boxes, 0)
        query = (
            select(ReviewRow.subject, func.count(), agreed, boxes)
            .group_by(ReviewRow.subject)
            .order_by(share.is_(None), share, ReviewRow.subject)
            .limit(limit)
        )
        if subjects is not None:
            query = query.where(ReviewRow.subject.in_(subjects))
        async with self.database.session(read_only=True) as session:
            rows = (await session.execute(query)).all()
        return [Agreement(subject=row[0], reviews=row[1], agreed=int(row[2]), boxes=int(row[3])) for row in rows]


async def _queue(
    session: AsyncSession, scan_id: str, subject: str, doubt: Doubt | None, revision: int, at: datetime
) -> None:
    """Replace the photo's entry, unless it is of a later event."""
    known = await session.get(ReviewQueueRow, scan_id)
    if known is not None and known.queued_at > at:
        return
    if doubt is None:
        await session.execute(delete(ReviewQueueRow).where(ReviewQueueRow.scan_id == scan_id))
        return
    values = {
        "subject": subject,
        "reason": doubt.reason,
        "detail": doubt.detail,
        "doubt": doubt.score,
        "revision": revision,
        "queued_at": at,
    }
    await upsert(session, ReviewQueueRow, {"scan_id": scan_id, **values}, ["scan_id"])


async def _entry(session: AsyncSession, scan_id: str) -> QueueEntry | None:
    row = await session.get(ReviewQueueRow, scan_id)
    return _to_entry(row, await session.get(ProposalRow, scan_id)) if row else None


async def _newest_review(session: AsyncSession, scan_id: str) -> ReviewRow | None:
    newest = select(ReviewRow).where(ReviewRow.scan_id == scan_id).order_by(ReviewRow.revision.desc()).limit(1)
    found: ReviewRow | None = await session.scalar(newest)
    return found


def _repeated(row: ReviewRow | None, scan_id: str, request: ReviewRequest) -> Review:
    """The earlier decision where the request repeats it. Raises `ReviewNotFoundError` and `ReviewDecidedError`."""
    if row is None:
        raise ReviewNotFoundError(scan_id)
    review = _to_review(row)
    if review.request != request:
        raise ReviewDecidedError(scan_id, review.request.decision, review.decided_at)
    return review


def _to_review(row: ReviewRow) -> Review:
    return Review(
        scan_id=row.scan_id,
        subject=row.subject,
        revision=row.revision,
        request=_REQUEST.validate_python(row.request),
        reviewer=row.reviewer,
        agreed=row.agreed,
        boxes=row.boxes,
        decided_at=row.decided_at,
    )


def _to_entry(row: ReviewQueueRow, proposal: ProposalRow | None) -> QueueEntry:
    return QueueEntry(
        scan_id=row.scan_id,
        subject=row.subject,
        doubt=Doubt(reason=row.reason, detail=row.detail, score=row.doubt),
        revision=row.revision,
        queued_at=row.queued_at,
        proposal=_to_proposal(proposal) if proposal else None,
    )


def _to_proposal(row: ProposalRow) -> Proposal:
    items: Any = row.items
    return Proposal(model_version=row.model_version, items=_ITEMS.validate_python(items))
