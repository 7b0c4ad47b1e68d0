"""Results in the database: finished scans, raw answers, spending, and erased scans and subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, String, and_, bindparam, delete, exists, func, literal, outerjoin, select
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.scans import ScanCompleted, ScanFailed, ScanRequested
from savo_runtime.database import Database, insert_all, upsert
from savo_vision.adapters.tables import ErasedRow, RawAnswerRow, ResultRow, SpendingRow
from savo_vision.detections import RawAnswer
from savo_vision.ports import Finished, ScanStatus

__all__ = ["StoredResults"]

MAX_TEXT = 200_000
"""Characters of a raw answer that are stored. A model that repeats itself could otherwise fill the table."""

_EVENTS: dict[str, type[Finished]] = {ScanCompleted.type: ScanCompleted, ScanFailed.type: ScanFailed}


@dataclass(frozen=True)
class StoredResults:
    """Port: `savo_vision.ports.Results`."""

    database: Database

    async def status(self, requested: ScanRequested) -> ScanStatus:
        async with self.database.session(read_only=True) as session:
            return await _status(session, requested.scan_id, requested.subject)

    async def finished(self, scan_id: str) -> Finished | None:
        async with self.database.session(read_only=True) as session:
            row = await session.get(ResultRow, scan_id)
            return _EVENTS[row.event_type].model_validate_json(row.event) if row else None

    async def save(
        self, finished: Finished, spent: Sequence[tuple[str, float]] = (), raw: RawAnswer | None = None
    ) -> Finished | None:
        at = finished.completed_at if isinstance(finished, ScanCompleted) else finished.failed_at
        async with self.database.session() as session:
            # Spending is booked even when the answer is discarded: the money is spent.
            await insert_all(
                session, SpendingRow, [{"provider": provider, "usd": usd, "spent_at": at} for provider, usd in spent]
            )
            stored = await _status(session, finished.scan_id, finished.subject)
            if stored.erased or stored.finished:
                return stored.finished
            values = {
                "subject": finished.subject,
                "event_type": finished.type,
                "event": finished.model_dump_json(),
                "finished_at": at,
            }
            await upsert(session, ResultRow, {"scan_id": finished.scan_id, **values}, key=["scan_id"])
            if raw is not None:
                await upsert(session, RawAnswerRow, _raw_values(finished, raw, at), key=["scan_id"])
        return finished

    async def raw_answer(self, scan_id: str) -> RawAnswer | None:
        async with self.database.session(read_only=True) as session:
            row = await session.get(RawAnswerRow, scan_id)
            return RawAnswer(row.provider, row.model, row.prompt, row.text) if row else None

    async def erase_scan(self, scan_id: str, at: datetime) -> None:
        async with self.database.session() as session:
            await upsert(session, ErasedRow, {"kind": "scan", "value": scan_id, "erased_at": at}, key=["kind", "value"])
            for table in (ResultRow, RawAnswerRow):
                await session.execute(delete(table).where(table.scan_id == scan_id))

    async def erase_subject(self, subject: str, at: datetime) -> None:
        async with self.database.session() as session:
            await upsert(
                session, ErasedRow, {"kind": "subject", "value": subject, "erased_at": at}, key=["kind", "value"]
            )
            for table in (ResultRow, RawAnswerRow):
                await session.execute(delete(table).where(table.subject == subject))

    async def record_spending(self, provider: str, usd: float, at: datetime) -> None:
        async with self.database.session() as session:
            session.add(SpendingRow(provider=provider, usd=usd, spent_at=at))

    async def spent_since(self, provider: str, since: datetime) -> float:
        async with self.database.session(read_only=True) as session:
            total = await session.scalar(
                select(func.sum(SpendingRow.usd)).where(SpendingRow.provider == provider, SpendingRow.spent_at >= since)
            )
            return float(total or 0.0)

    async def delete_before(self, moment: datetime) -> None:
        """Delete results that finished earlier. Their topic has dropped them too, so no repeat can arrive."""
        async with self.database.session() as session:
            await session.execute(delete(ResultRow).where(ResultRow.finished_at < moment))
            await session.execute(delete(RawAnswerRow).where(RawAnswerRow.answered_at < moment))
            await session.execute(delete(SpendingRow).where(SpendingRow.spent_at < moment))


def _raw_values(finished: Finished, raw: RawAnswer, at: datetime) -> dict[str, object]:
    columns = {"provider": raw.provider, "model": raw.model[:120], "prompt": raw.prompt, "text": raw.text[:MAX_TEXT]}
    return {"scan_id": finished.scan_id, "subject": finished.subject, "answered_at": at, **columns}


async def _status(session: AsyncSession, scan_id: str, subject: str) -> ScanStatus:
    """One query for all, because each scan runs it twice."""
    row = (await session.execute(_STATUS_QUERY, {"scan_id": scan_id, "subject": subject})).one()
    if row.erased:
        return ScanStatus(erased=True)
    return ScanStatus(finished=_EVENTS[row.event_type].model_validate_json(row.event) if row.event_type else None)


def _status_query() -> Select[bool, str, str]:
    scan, subject = bindparam("scan_id", type_=String), bindparam("subject", type_=String)
    of_it = and_(ErasedRow.kind == "scan", ErasedRow.value == scan) | and_(
        ErasedRow.kind == "subject", ErasedRow.value == subject
    )
    asked = select(literal(1).label("asked")).subquery()
    found = outerjoin(asked, ResultRow, ResultRow.scan_id == scan)
    return select(exists().where(of_it).label("erased"), ResultRow.event_type, ResultRow.event).select_from(found)


_STATUS_QUERY = _status_query()
