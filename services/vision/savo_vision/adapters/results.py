"""Finished scans in the database: a repeat finds its answer here, and an erased scan finds its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.scans import ScanCompleted, ScanFailed, ScanRequested
from savo_runtime.database import Database, upsert
from savo_vision.adapters.tables import ErasedRow, RawAnswerRow, ResultRow, SpendingRow
from savo_vision.detections import RawAnswer
from savo_vision.ports import Finished, Standing

__all__ = ["StoredResults"]

MAX_TEXT = 200_000
"""Characters of a provider's words that are kept: a model that repeats itself would fill the table."""

_EVENTS: dict[str, type[Finished]] = {ScanCompleted.type: ScanCompleted, ScanFailed.type: ScanFailed}


@dataclass(frozen=True)
class StoredResults:
    database: Database

    async def standing(self, requested: ScanRequested) -> Standing:
        async with self.database.session(read_only=True) as session:
            if await _is_erased(session, requested.scan_id, requested.subject):
                return Standing(erased=True)
            return Standing(finished=await _find(session, requested.scan_id))

    async def keep(self, finished: Finished, spent: Sequence[tuple[str, float]] = (), raw: RawAnswer | None = None) -> Finished | None:
        at = finished.completed_at if isinstance(finished, ScanCompleted) else finished.failed_at
        async with self.database.session() as session:
            # Money is booked whatever becomes of the answer: it is spent.
            session.add_all(SpendingRow(provider=provider, usd=usd, spent_at=at) for provider, usd in spent)
            if await _is_erased(session, finished.scan_id, finished.subject):
                return None
            if (there := await _find(session, finished.scan_id)) is not None:
                return there
            values = {"subject": finished.subject, "event_type": finished.type, "event": finished.model_dump_json(), "finished_at": at}
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
            await upsert(session, ErasedRow, {"kind": "subject", "value": subject, "erased_at": at}, key=["kind", "value"])
            for table in (ResultRow, RawAnswerRow):
                await session.execute(delete(table).where(table.subject == subject))

    async def book(self, provider: str, usd: float, at: datetime) -> None:
        async with self.database.session() as session:
            session.add(SpendingRow(provider=provider, usd=usd, spent_at=at))

    async def spent_since(self, provider: str, since: datetime) -> float:
        async with self.database.session(read_only=True) as session:
            total = await session.scalar(select(func.sum(SpendingRow.usd)).where(SpendingRow.provider == provider, SpendingRow.spent_at >= since))
            return float(total or 0.0)

    async def forget_before(self, moment: datetime) -> None:
        """Results older than their topic keeps them: no repeat can come any more."""
        async with self.database.session() as session:
            await session.execute(delete(ResultRow).where(ResultRow.finished_at < moment))
            await session.execute(delete(RawAnswerRow).where(RawAnswerRow.answered_at < moment))
            await session.execute(delete(SpendingRow).where(SpendingRow.spent_at < moment))


def _raw_values(finished: Finished, raw: RawAnswer, at: datetime) -> dict[str, object]:
    words = {"provider": raw.provider, "model": raw.model[:120], "prompt": raw.prompt, "text": raw.text[:MAX_TEXT]}
    return {"scan_id": finished.scan_id, "subject": finished.subject, "answered_at": at, **words}


async def _is_erased(session: AsyncSession, scan_id: str, subject: str) -> bool:
    scan = (ErasedRow.kind == "scan") & (ErasedRow.value == scan_id)
    person = (ErasedRow.kind == "subject") & (ErasedRow.value == subject)
    return await session.scalar(select(ErasedRow.kind).where(or_(scan, person)).limit(1)) is not None


async def _find(session: AsyncSession, scan_id: str) -> Finished | None:
    row = await session.get(ResultRow, scan_id)
    return _EVENTS[row.event_type].model_validate_json(row.event) if row else None
