"""Scans of the owner's app, in SQL: found as the app names them, copied for look-alike frames, summed by cost."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.scans import ScanCompleted
from savo_gateway.adapters.rows import find_subject, subject_for, to_scan
from savo_gateway.adapters.tables import PhotoOwnerRow, ScanRow
from savo_gateway.owner_app.records import OpenAccessSpending, ScanCopy, ScanReference
from savo_gateway.scans.records import Scan, ScanDetails, ScanStatus
from savo_runtime.database import Database, insert_all, insert_once

__all__ = ["SqlAppScans"]


@dataclass(frozen=True)
class SqlAppScans:
    """Implements `ports.AppScans`."""

    database: Database

    async def find(self, reference: ScanReference) -> Scan | None:
        async with self.database.session(read_only=True) as session:
            owned_by = await _owners(session, reference)
            if not owned_by:
                return None
            by_id = or_(ScanRow.scan_id == reference.scan_id, ScanRow.client_scan_id == reference.scan_id)
            for named in (by_id, ScanRow.upload_sha256 == reference.image_hash):
                for owner in owned_by:
                    if row := await session.scalar(_newest(named, owner)):
                        return to_scan(row)
            return None

    async def keep_client_scan_id(self, scan_id: str, client_scan_id: str) -> None:
        kept = (
            update(ScanRow)
            .where(ScanRow.scan_id == scan_id, ScanRow.client_scan_id.is_(None))
            .values(client_scan_id=client_scan_id)
        )
        with suppress(IntegrityError):  # the person's other scan has it, written at the same time
            async with self.database.session() as session:
                await session.execute(kept)

    async def copy(self, original: Scan, copy: ScanCopy) -> Scan:
        assert original.result is not None
        async with self.database.session() as session:
            subject, anonymous = await subject_for(session, copy.details.person, copy.requested_at)
            result = _copied_result(original.result, copy, subject, anonymous)
            await insert_all(session, ScanRow, [_copied_values(original, result, copy)])
            owner = {
                "subject": subject,
                "sha256": original.image.sha256,
                "image": original.image.model_dump(mode="json"),
                "first_at": copy.requested_at,
            }
            await insert_once(session, PhotoOwnerRow, owner)
            row = await session.get(ScanRow, copy.scan_id)
            assert row is not None
            return to_scan(row, result=result)

    async def open_access_spending(self, since: datetime) -> OpenAccessSpending:
        own = and_(ScanRow.open_access.is_(True), ScanRow.requested_at >= since, ScanRow.copied_from.is_(None))
        sums = select(
            func.coalesce(func.sum(ScanRow.cost_usd), 0.0),
            func.count().filter(ScanRow.status != ScanStatus.QUEUED.value),
            func.count().filter(ScanRow.status == ScanStatus.QUEUED.value),
        )
        async with self.database.session(read_only=True) as session:
            cost_usd, finished, queued = (await session.execute(sums.where(own))).one()
        return OpenAccessSpending(float(cost_usd or 0), finished, queued)


def _newest(named: ColumnElement[bool], owner: ColumnElement[bool]) -> Any:
    return select(ScanRow).where(named, owner).order_by(ScanRow.requested_at.desc()).limit(1)


async def _owners(session: AsyncSession, reference: ScanReference) -> Sequence[ColumnElement[bool]]:
    """Conditions on a scan's owner: first the person, then no owner."""
    if reference.open_access_only:
        return (ScanRow.open_access.is_(True),)
    subject = await find_subject(session, reference.person) if reference.person else None
    owned = (ScanRow.subject == subject,) if subject else ()
    # A scan without a person keeps its own random subject, which `subjects` does not hold.
    return (*owned, ScanRow.anonymous.is_(True)) if reference.anonymous_too else owned


def _copied_result(result: ScanCompleted, copy: ScanCopy, subject: str, anonymous: bool) -> ScanCompleted:
    """The items under the copy's own id. Without an experiment its confirmation is no evidence, and it cost nothing."""
    own = {"scan_id": copy.scan_id, "subject": subject, "anonymous": anonymous, "experiment": None, "cost_usd": 0.0}
    times = {"duration_ms": 0.0, "requested_at": copy.requested_at, "taken_up_at": None}
    return result.model_copy(update={**own, **times, "completed_at": copy.requested_at, "stages_ms": {}})


def _copied_values(original: Scan, result: ScanCompleted, copy: ScanCopy) -> dict[str, object]:
    details: ScanDetails = copy.details
    return {
        "scan_id": copy.scan_id,
        "subject": result.subject,
        "anonymous": result.anonymous,
        "status": ScanStatus.COMPLETED.value,
        "image": original.image.model_dump(mode="json"),
        "upload_sha256": copy.upload_sha256,
        "copied_from": original.scan_id,
        "open_access": details.open_access,
        "storage_location": details.storage_location.value if details.storage_location else None,
        "consent": details.consent,
        "captured_at": details.captured_at,
        "device_info": details.device_info,
        "requested_at": copy.requested_at,
        "expires_at": copy.requested_at,
        "result": result.model_dump(mode="json"),
        "finished_at": copy.requested_at,
        "changes": 0,
    }
