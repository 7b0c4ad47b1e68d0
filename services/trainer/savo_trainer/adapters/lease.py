"""Leases in the database: a row each, with the process that holds the lease, and until when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, CursorResult, or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from savo_runtime.database import Database
from savo_trainer.adapters.tables import LeaseRow
from savo_trainer.errors import LeaseLostError

__all__ = ["DATASETS", "RUNS", "DatabaseLease"]

RUNS = "runs"
"""Lease of the replica that works on training runs."""
DATASETS = "datasets"
"""Lease of the process that freezes or removes a data set version."""
EXPIRED = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DatabaseLease:
    """Acquired when free or expired. Other transactions call `hold`, so a replica without the lease writes nothing."""

    database: Database
    owner: str
    seconds: float
    clock: Callable[[], datetime]
    name: str = RUNS

    @property
    def renew_every(self) -> float:
        return self.seconds / 3

    async def acquire(self) -> bool:
        now = self.clock()
        async with self.database.session() as session:
            free = or_(LeaseRow.owner == self.owner, LeaseRow.until < now)
            return await self._set(session, free, until=self._until(now))

    async def renew(self) -> None:
        async with self.database.session() as session:
            await self.hold(session)

    async def release(self) -> None:
        async with self.database.session() as session:
            await self._set(session, LeaseRow.owner == self.owner, until=EXPIRED)

    async def hold(self, session: AsyncSession) -> None:
        """Renew within the caller's transaction. Raises `LeaseLostError`."""
        if not await self._set(session, LeaseRow.owner == self.owner, until=self._until(self.clock())):
            raise LeaseLostError(self.owner, self.name)

    async def _set(self, session: AsyncSession, condition: ColumnElement[bool], *, until: datetime) -> bool:
        """A migration inserts the row. Of several replicas' updates only one meets the condition."""
        result = await session.execute(
            update(LeaseRow).where(LeaseRow.name == self.name, condition).values(owner=self.owner, until=until)
        )
        return isinstance(result, CursorResult) and result.rowcount == 1

    def _until(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.seconds)
