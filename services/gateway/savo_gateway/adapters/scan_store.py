"""Scans, their confirmations and photo owners, in SQL. Each method is one transaction, events included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import ColumnElement, CursorResult, Select, delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.envelope import named_id
from savo_contracts.figures import is_edited
from savo_contracts.scans import ScanCompleted, ScanFailed
from savo_gateway.access.records import Person
from savo_gateway.adapters.ask_counts import count_ask
from savo_gateway.adapters.consent_store import consent_of_subject
from savo_gateway.adapters.label_quality.correction_store import count_corrections
from savo_gateway.adapters.rows import (
    find_subject,
    locked_scan,
    next_revision,
    revisions_of,
    subject_for,
    to_requests,
    to_scan,
    write_failure,
    write_result,
)
from savo_gateway.adapters.tables import ConfirmationRow, IdempotencyRow, PhotoOwnerRow, ScanRow, SubjectRow
from savo_gateway.confirmations.confirmation import check_may_confirm, confirmed_event
from savo_gateway.confirmations.edit_merging import MergedEdits, check_fits, merge_edits
from savo_gateway.confirmations.records import ConfirmationRequest, Confirmed
from savo_gateway.errors import IdempotencyKeyReusedError, ScanNotFoundError
from savo_gateway.scans.acceptance import requested_event
from savo_gateway.scans.records import AskLimits, IdempotencyClaim, NewScan, Scan, ScanStatus
from savo_runtime.database import Database, insert_all, insert_once
from savo_runtime.messaging.publishing.outbox import Outbox

__all__ = ["SqlScans"]


@dataclass(frozen=True)
class SqlScans:
    """Implements `ports.ScanStore`."""

    database: Database
    outbox: Outbox

    async def claimed(self, claim: IdempotencyClaim) -> Scan | None:
        async with self.database.session(read_only=True) as session:
            return await _claimed(session, claim)

    async def accept(self, new: NewScan) -> Scan:
        async with self.database.session() as session:
            if new.claim and not await insert_once(session, IdempotencyRow, _claim_values(new, new.claim)):
                scan = await _claimed(session, new.claim)
                assert scan is not None
                return scan
            scan = _queued(new, *await subject_for(session, new.details.person, new.requested_at))
            values = _new_values(scan, new)
            await insert_all(session, ScanRow, [values])
            owner = {
                "subject": scan.subject,
                "sha256": new.photo.sha256,
                "image": values["image"],
                "first_at": new.requested_at,
            }
            await insert_once(session, PhotoOwnerRow, owner)
            await self.outbox.add(session, requested_event(scan), event_id=named_id(f"scan-requested/{scan.scan_id}"))
            return scan

    async def find(self, scan_id: str) -> Scan | None:
        async with self.database.session(read_only=True) as session:
            row = await session.get(ScanRow, scan_id)
            return to_scan(row, await revisions_of(session, scan_id)) if row else None

    async def finished_among(self, scan_ids: Sequence[str]) -> Sequence[str]:
        done = select(ScanRow.scan_id).where(ScanRow.scan_id.in_(scan_ids), ScanRow.status != ScanStatus.QUEUED.value)
        async with self.database.session(read_only=True) as session:
            return (await session.scalars(done)).all()

    async def page(self, subject: str, *, before: tuple[datetime, str] | None, limit: int) -> Sequence[Scan]:
        query = _newest_first(ScanRow.subject == subject).limit(limit)
        if before:
            query = query.where(tuple_(ScanRow.requested_at, ScanRow.scan_id) < tuple_(*before))
        async with self.database.session(read_only=True) as session:
            return await _with_confirmations(session, query)

    async def history(self, person: Person, *, limit: int, offset: int) -> tuple[Sequence[Scan], int]:
        own = ScanRow.subject == _subject_query(person).scalar_subquery()
        async with self.database.session(read_only=True) as session:
            total = await session.scalar(select(func.count()).select_from(ScanRow).where(own))
            scans = await _with_confirmations(session, _newest_first(own).limit(limit).offset(offset))
            return scans, total or 0

    async def newest_of_photo(self, person: Person, upload_sha256: str) -> Scan | None:
        own = ScanRow.subject == _subject_query(person).scalar_subquery()
        query = _newest_first(own).where(ScanRow.upload_sha256 == upload_sha256).limit(1)
        async with self.database.session(read_only=True) as session:
            found = await _with_confirmations(session, query)
            return found[0] if found else None

    async def subject_of(self, person: Person) -> str | None:
        async with self.database.session(read_only=True) as session:
            return await find_subject(session, person)

    async def subject_for(self, person: Person, now: datetime) -> str:
        async with self.database.session() as session:
            return (await subject_for(session, person, now))[0]

    async def complete(
        self, completed: ScanCompleted, now: datetime, *, ask: AskLimits | None = None
    ) -> Confirmed | None:
        async with self.database.session() as session:
            row = await locked_scan(session, completed.scan_id)
            if row is None or not write_result(row, completed, now):
                return None
            # Each confirmation counts `changes` up, as this transaction did: 1 means that there is none.
            revisions = await revisions_of(session, row.scan_id) if row.changes > 1 else []
            if not revisions:
                row.asked = ask is not None and await count_ask(session, ask, now)
                return Confirmed(to_scan(row, result=completed))
            return await self._publish(session, row, revisions, now)

    async def fail(self, failed: ScanFailed, now: datetime) -> bool:
        async with self.database.session() as session:
            row = await locked_scan(session, failed.scan_id)
            return row is not None and write_failure(row, failed, now)

    async def confirm(self, scan_id: str, request: ConfirmationRequest, now: datetime) -> Confirmed:
        async with self.database.session() as session:
            row = await locked_scan(session, scan_id)
            if row is None:
                raise ScanNotFoundError(scan_id)
            revisions = await revisions_of(session, scan_id)
            scan = to_scan(row, revisions)
            check_may_confirm(scan, request)
            if scan.result:
                check_fits(scan.result.items, scan.result.served_by, to_requests(revisions), request)
            if _changes_nothing(scan, revisions, request):
                return Confirmed(scan)
            revision = ConfirmationRow(
                scan_id=scan_id,
                revision=await next_revision(session, scan_id, revisions),
                request=request.model_dump(mode="json"),
                published=False,
                confirmed_at=now,
            )
            session.add(revision)
            revisions = [*revisions, revision]
            if scan.result is None:
                return Confirmed(to_scan(row, revisions))
            return await self._publish(session, row, revisions, now)

    async def unfinished(self, *, expired_before: datetime | None = None, limit: int = 500) -> Sequence[Scan]:
        query = (
            select(ScanRow).where(ScanRow.status == ScanStatus.QUEUED.value).order_by(ScanRow.expires_at).limit(limit)
        )
        if expired_before:
            query = query.where(ScanRow.expires_at < expired_before)
        async with self.database.session(read_only=True) as session:
            return [to_scan(row) for row in await session.scalars(query)]

    async def republish(self, scan: Scan) -> None:
        async with self.database.session() as session:
            await self.outbox.add(session, requested_event(scan), event_id=named_id(f"scan-requested/{scan.scan_id}"))

    async def delete_claims(self, older_than: datetime) -> int:
        async with self.database.session() as session:
            result = await session.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at < older_than))
            return result.rowcount if isinstance(result, CursorResult) else 0

    async def _publish(
        self,
        session: AsyncSession,
        row: ScanRow,
        revisions: Sequence[ConfirmationRow],
        now: datetime,
    ) -> Confirmed:
        """Publish all revisions that fit the result, as one event with the newest revision's number."""
        scan = to_scan(row)
        assert scan.result is not None
        result, requests = scan.result, to_requests(revisions)
        merged = merge_edits(result.items, result.served_by, requests)
        accepted = [revision for index, revision in enumerate(revisions) if index not in merged.refused]
        if not accepted:
            return Confirmed(to_scan(row, revisions))
        before = _published_edits(result, revisions)
        await count_corrections(session, result, before, merged)
        edited = is_edited(merged.items)
        is_first, newly_edited = row.confirmed_at is None, edited and not (row.confirmed_at and row.edited)
        row.edited, row.confirmed_at = edited, now
        for revision in accepted:
            revision.published = True
        newest = accepted[-1].revision
        # The event carries the consent: the collector may read it before the person's `consent.changed`.
        consent = await consent_of_subject(session, scan.subject)
        event = confirmed_event(
            scan, result, merged.items, merged.nothing_missing, consent=consent, revision=newest, now=now
        )
        await self.outbox.add(session, event, event_id=named_id(f"scan-confirmed/{row.scan_id}/{newest}"))
        return Confirmed(
            to_scan(row, revisions),
            event,
            changed_items=tuple(item for item in merged.items if item not in before.items),
            is_first=is_first,
            newly_edited=newly_edited,
        )


def _subject_query(person: Person) -> Select[str]:
    return select(SubjectRow.subject).where(SubjectRow.kind == person.kind, SubjectRow.reference == person.reference)


def _newest_first(condition: ColumnElement[bool]) -> Select[ScanRow]:
    return select(ScanRow).where(condition).order_by(ScanRow.requested_at.desc(), ScanRow.scan_id.desc())


async def _with_confirmations(session: AsyncSession, query: Select[ScanRow]) -> list[Scan]:
    """The scans that the query finds, with their confirmations, by two statements."""
    rows = (await session.scalars(query)).all()
    of_rows = select(ConfirmationRow).where(ConfirmationRow.scan_id.in_([row.scan_id for row in rows]))
    confirmations = await session.scalars(of_rows.order_by(ConfirmationRow.scan_id, ConfirmationRow.revision))
    by_scan = {scan_id: list(group) for scan_id, group in groupby(confirmations, key=lambda row: row.scan_id)}
    return [to_scan(row, by_scan.get(row.scan_id, [])) for row in rows]


def _published_edits(result: ScanCompleted, revisions: Sequence[ConfirmationRow]) -> MergedEdits:
    """Those of the newest published event; without items before the first."""
    published = to_requests([revision for revision in revisions if revision.published])
    return merge_edits(result.items, result.served_by, published)


def _changes_nothing(scan: Scan, revisions: Sequence[ConfirmationRow], request: ConfirmationRequest) -> bool:
    requests = to_requests(revisions)
    if scan.result is None:
        return bool(requests) and requests[-1] == request
    if not any(revision.published for revision in revisions):
        return False
    items, served_by = scan.result.items, scan.result.served_by
    return merge_edits(items, served_by, [*requests, request]) == merge_edits(items, served_by, requests)


async def _claimed(session: AsyncSession, claim: IdempotencyClaim) -> Scan | None:
    held = await session.get(IdempotencyRow, (claim.scope, claim.key))
    if held is None:
        return None
    if held.fingerprint != claim.fingerprint:
        raise IdempotencyKeyReusedError
    row = await session.get(ScanRow, held.scan_id)
    return to_scan(row, await revisions_of(session, row.scan_id)) if row else None


def _claim_values(new: NewScan, claim: IdempotencyClaim) -> dict[str, object]:
    return {
        "scope": claim.scope,
        "key": claim.key,
        "fingerprint": claim.fingerprint,
        "scan_id": new.scan_id,
        "created_at": new.requested_at,
    }


def _queued(new: NewScan, subject: str, anonymous: bool) -> Scan:
    return Scan(
        scan_id=new.scan_id,
        subject=subject,
        anonymous=anonymous,
        status=ScanStatus.QUEUED,
        image=new.photo.ref,
        storage_location=new.details.storage_location,
        consent=new.details.consent,
        captured_at=new.details.captured_at,
        upload_sha256=new.photo.upload_sha256,
        open_access=new.details.open_access,
        requested_at=new.requested_at,
        expires_at=new.expires_at,
    )


def _new_values(scan: Scan, new: NewScan) -> dict[str, object]:
    return {
        "scan_id": scan.scan_id,
        "subject": scan.subject,
        "anonymous": scan.anonymous,
        "status": scan.status.value,
        "image": scan.image.model_dump(mode="json"),
        "upload_sha256": new.photo.upload_sha256,
        "open_access": new.details.open_access,
        "storage_location": scan.storage_location.value if scan.storage_location else None,
        "consent": scan.consent,
        "captured_at": scan.captured_at,
        "device_info": new.details.device_info,
        "requested_at": scan.requested_at,
        "expires_at": scan.expires_at,
        "changes": 0,
    }
