"""Label files that data set versions keep by content, with the samples that they belong to.

Two samples may have equal label files. A file is deleted when no sample needs it any more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.documents import frozen_labels_key
from savo_runtime.database import Database
from savo_runtime.storage.concurrency import map_limited
from savo_runtime.storage.port import ObjectStore
from savo_trainer.adapters.tables import FrozenLabelsRow, LeaseRow

__all__ = ["DatabaseFrozenLabels"]

_LOCK = "frozen-labels"
_PAIRS = 200
"""Pairs of one query: each is two of its parameters."""

Pair = tuple[str, str]
"""sha256 of a label file, and sha256 of a photo that has it."""


@dataclass(frozen=True)
class DatabaseFrozenLabels:
    """Implements `FrozenLabels`."""

    database: Database
    store: ObjectStore

    async def add(self, pairs: Sequence[Pair]) -> set[str]:
        dialect, row, known = sqlite if self.database.is_sqlite else postgresql, FrozenLabelsRow, set[str]()
        values = [{"labels_sha256": labels, "sha256": sha256} for labels, sha256 in pairs]
        async with self._locked() as session:
            for start in range(0, len(values), _PAIRS):
                labels = {labels for labels, _ in pairs[start : start + _PAIRS]}
                known |= set(await session.scalars(select(row.labels_sha256).where(row.labels_sha256.in_(labels))))
            for start in range(0, len(values), _PAIRS):
                insert = dialect.insert(FrozenLabelsRow).values(values[start : start + _PAIRS])
                await session.execute(insert.on_conflict_do_nothing())
        return known

    async def release(self, pairs: Sequence[Pair]) -> None:
        for start in range(0, len(pairs), _PAIRS):
            async with self._locked() as session:
                await self._release(session, pairs[start : start + _PAIRS])

    async def erase(self, sha256: str) -> None:
        of_sample = select(FrozenLabelsRow.labels_sha256).where(FrozenLabelsRow.sha256 == sha256)
        async with self.database.session(read_only=True) as session:
            labels = list(await session.scalars(of_sample))
        await self.release([(each, sha256) for each in labels])

    async def _release(self, session: AsyncSession, pairs: Sequence[Pair]) -> None:
        row = FrozenLabelsRow
        same = or_(*(and_(row.labels_sha256 == labels, row.sha256 == sha256) for labels, sha256 in pairs))
        await session.execute(delete(row).where(same))
        labels = {labels for labels, _ in pairs}
        needed = set(await session.scalars(select(row.labels_sha256).where(row.labels_sha256.in_(labels)).distinct()))
        # Inside the transaction, so that no freeze finds a file that is deleted afterwards.
        async for _ in map_limited(
            sorted(labels - needed), lambda labels: self.store.delete(frozen_labels_key(labels))
        ):
            pass

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[AsyncSession]:
        """A transaction. Those of all replicas run one after another, because each updates the same row."""
        async with self.database.session() as session:
            await session.execute(update(LeaseRow).where(LeaseRow.name == _LOCK).values(owner=""))
            yield session
