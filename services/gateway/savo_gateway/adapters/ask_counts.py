"""Counts behind `ask_confirmation`, in SQL: asks of the current minute and day, and collected boxes by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from savo_gateway.adapters.tables import AskCountRow, SampleLabelRow
from savo_gateway.scans.records import AskLimits
from savo_runtime.database import Database, insert_once

__all__ = ["SqlClassCounts", "count_ask"]

UNUSED_AFTER = timedelta(hours=1)
"""After its end no transaction counts in a period any more."""


@dataclass(frozen=True)
class SqlClassCounts:
    """Implements `ports.ClassCounts`."""

    database: Database

    async def boxes_by_label(self) -> Mapping[str, int]:
        sums = select(SampleLabelRow.label, func.sum(SampleLabelRow.boxes)).group_by(SampleLabelRow.label)
        async with self.database.session(read_only=True) as session:
            return {label: int(boxes) for label, boxes in await session.execute(sums)}


async def count_ask(session: AsyncSession, limits: AskLimits, now: datetime) -> bool:
    """Count one more ask; False when a limit is reached. Periods that ended an hour ago are deleted."""
    moment = now.astimezone(UTC)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    minute = moment.replace(second=0, microsecond=0)
    # The minute first: what it refuses must not count in the day. The same order in every transaction, so that two of
    # them never wait for each other's rows.
    periods = (
        (f"{minute:%Y-%m-%dT%H:%M}", minute + timedelta(minutes=1), limits.per_minute),
        (f"{day:%Y-%m-%d}", day + timedelta(days=1), limits.per_day),
    )
    for period, ends_at, most in periods:
        if await insert_once(session, AskCountRow, {"period": period, "asked": 0, "ends_at": ends_at}):
            await session.execute(delete(AskCountRow).where(AskCountRow.ends_at <= moment - UNUSED_AFTER))
        if not await _add(session, period, most):
            return False
    return True


async def _add(session: AsyncSession, period: str, most: int) -> bool:
    own = AskCountRow.period == period
    below = update(AskCountRow).where(own, AskCountRow.asked < most).values(asked=AskCountRow.asked + 1)
    return await session.scalar(below.returning(AskCountRow.asked)) is not None
