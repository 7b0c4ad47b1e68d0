"""Conversion between database rows and the domain's records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.envelope import ImageRef
from savo_contracts.scans import FailureCode, ScanCompleted, ScanFailed, StorageLocation
from savo_gateway.access.records import Person
from savo_gateway.adapters.tables import ConfirmationRow, ReviewRow, ScanRow, SubjectRow
from savo_gateway.confirmations.edit_merging import merge_edits
from savo_gateway.confirmations.records import ConfirmationRequest
from savo_gateway.scans.records import Confirmation, RefusedConfirmation, Scan, ScanError, ScanStatus
from savo_runtime.database import insert_once

__all__ = [
    "find_subject",
    "locked_scan",
    "next_revision",
    "revisions_of",
    "subject_for",
    "to_confirmation",
    "to_requests",
    "to_scan",
    "write_failure",
    "write_result",
]


async def find_subject(session: AsyncSession, person: Person) -> str | None:
    """The person's subject; None for a person who sent nothing yet."""
    found: str | None = await session.scalar(
        select(SubjectRow.subject).where(SubjectRow.kind == person.kind, SubjectRow.reference == person.reference)
    )
    return found


async def subject_for(session: AsyncSession, person: Person | None, now: datetime) -> tuple[str, bool]:
    """The person's subject, created when there is none, and whether it is anonymous: then it is always new."""
    new_subject = uuid4().hex
    if person is None:
        return new_subject, True
    await insert_once(
        session,
        SubjectRow,
        {"subject": new_subject, "kind": person.kind, "reference": person.reference, "created_at": now},
    )
    found = await find_subject(session, person)
    assert found is not None
    return found, False


async def locked_scan(session: AsyncSession, scan_id: str) -> ScanRow | None:
    """The row, locked until the transaction ends: a write locks it on PostgreSQL and on SQLite."""
    query = update(ScanRow).where(ScanRow.scan_id == scan_id).values(changes=ScanRow.changes + 1).returning(ScanRow)
    row: ScanRow | None = await session.scalar(query, execution_options={"synchronize_session": False})
    return row


async def revisions_of(session: AsyncSession, scan_id: str) -> list[ConfirmationRow]:
    """All confirmations of the scan, in order."""
    return list(
        await session.scalars(
            select(ConfirmationRow).where(ConfirmationRow.scan_id == scan_id).order_by(ConfirmationRow.revision)
        )
    )


async def next_revision(session: AsyncSession, scan_id: str, revisions: Sequence[ConfirmationRow]) -> int:
    """The number after that of the scan's newest confirmation or review. The scan's row is locked by the caller."""
    if not revisions:
        return 1
    reviewed = await session.scalar(select(func.max(ReviewRow.revision)).where(ReviewRow.scan_id == scan_id))
    return 1 + max(revisions[-1].revision, reviewed or 0)


def to_scan(
    row: ScanRow,
    revisions: Sequence[ConfirmationRow] = (),
    *,
    result: ScanCompleted | None = None,
) -> Scan:
    """`revisions`: all confirmations of the scan, in order. `result`: the row's, where it is parsed already."""
    result = result or (ScanCompleted.model_validate(row.result) if row.result else None)
    return Scan(
        scan_id=row.scan_id,
        subject=row.subject,
        anonymous=row.anonymous,
        status=ScanStatus(row.status),
        image=ImageRef.model_validate(row.image),
        storage_location=StorageLocation(row.storage_location) if row.storage_location else None,
        consent=row.consent,
        captured_at=row.captured_at,
        upload_sha256=row.upload_sha256,
        client_scan_id=row.client_scan_id,
        copied_from=row.copied_from,
        open_access=bool(row.open_access),
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        result=result,
        error=ScanError(row.error_code, row.error_message or "") if row.error_code else None,
        is_asked=bool(row.asked),
        finished_at=row.finished_at,
        confirmation=to_confirmation(result, revisions),
    )


def to_confirmation(result: ScanCompleted | None, revisions: Sequence[ConfirmationRow]) -> Confirmation | None:
    """All revisions merged over the result; None without a revision."""
    if not revisions:
        return None
    detections, served_by = (result.items, result.served_by) if result else (None, None)
    merged = merge_edits(detections, served_by, to_requests(revisions))
    accepted = [row for index, row in enumerate(revisions) if index not in merged.refused]
    newest = (accepted or revisions)[-1]
    refused = [RefusedConfirmation(revisions[index].revision, errors) for index, errors in merged.refused.items()]
    return Confirmation(
        revision=newest.revision,
        published=newest.published,
        items=merged.items,
        nothing_missing=merged.nothing_missing,
        confirmed_at=newest.confirmed_at,
        unspoken=merged.unspoken,
        refused=tuple(refused),
    )


def to_requests(revisions: Sequence[ConfirmationRow]) -> list[ConfirmationRequest]:
    return [ConfirmationRequest.model_validate(row.request) for row in revisions]


def write_result(row: ScanRow, completed: ScanCompleted, now: datetime) -> bool:
    """False when the scan was completed or failed before."""
    # A result counts even after the scan expired: it was paid for.
    if not (row.status == ScanStatus.QUEUED or row.error_code == FailureCode.EXPIRED):
        return False
    row.status, row.error_code, row.error_message = ScanStatus.COMPLETED.value, None, None
    row.result, row.cost_usd, row.finished_at = completed.model_dump(mode="json"), completed.cost_usd, now
    return True


def write_failure(row: ScanRow, failed: ScanFailed, now: datetime) -> bool:
    """False when the scan was completed or failed before."""
    if row.status != ScanStatus.QUEUED:
        return False
    row.status, row.finished_at = ScanStatus.FAILED.value, now
    row.error_code, row.error_message = failed.code, failed.message
    row.cost_usd = failed.cost_usd
    return True
