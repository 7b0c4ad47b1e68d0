"""Weekly digests that were sent, in SQL. The host that inserts a week's row first sends its digest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from savo_gateway.adapters.tables import DigestRow
from savo_gateway.errors import DigestSentError
from savo_runtime.database import Database, insert_once

__all__ = ["SqlDigests"]


@dataclass(frozen=True)
class SqlDigests:
    """Implements `ports.Digests`."""

    database: Database

    async def claim(self, week: str, now: datetime) -> None:
        async with self.database.session() as session:
            if await insert_once(session, DigestRow, {"week": week, "claimed_at": now}):
                return
            claimed_at = await session.scalar(select(DigestRow.claimed_at).where(DigestRow.week == week))
        raise DigestSentError(week, claimed_at or now)

    async def release(self, week: str) -> None:
        async with self.database.session() as session:
            await session.execute(delete(DigestRow).where(DigestRow.week == week))
