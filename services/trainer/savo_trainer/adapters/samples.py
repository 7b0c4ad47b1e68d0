"""Index of samples in the database, built from events alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import delete, select

from savo_contracts.samples import Split
from savo_runtime.database import Database, upsert
from savo_trainer.adapters.tables import ErasedSampleRow, SampleRow
from savo_trainer.ports import IndexedSample

__all__ = ["DatabaseSamples"]

PAGE = 1000
"""Samples that a query returns."""


@dataclass(frozen=True)
class DatabaseSamples:
    """Implements `SampleIndex`."""

    database: Database

    async def record(self, sample: IndexedSample) -> None:
        async with self.database.session() as session:
            erased = await session.get(ErasedSampleRow, sample.sha256)
            known = await session.get(SampleRow, sample.sha256)
            if (erased and sample.stored_at <= erased.erased_at) or (known and known.revision >= sample.revision):
                return
            await upsert(session, SampleRow, asdict(sample) | {"split": sample.split.value}, ["sha256"])

    async def erase(self, sha256: str, at: datetime) -> None:
        async with self.database.session() as session:
            await upsert(session, ErasedSampleRow, {"sha256": sha256, "erased_at": at}, ["sha256"])
            await session.execute(delete(SampleRow).where(SampleRow.sha256 == sha256, SampleRow.stored_at <= at))

    async def in_dataset(self, dataset: str) -> AsyncIterator[IndexedSample]:
        after = ""
        while page := await self._page(dataset, after):
            for sample in page:
                yield sample
            after = page[-1].sha256

    async def erased(self, hashes: Sequence[str]) -> set[str]:
        query = (
            select(ErasedSampleRow.sha256)
            .outerjoin(SampleRow, SampleRow.sha256 == ErasedSampleRow.sha256)
            .where(ErasedSampleRow.sha256.in_(hashes), SampleRow.sha256.is_(None))
        )
        async with self.database.session(read_only=True) as session:
            return set(await session.scalars(query))

    async def _page(self, dataset: str, after: str) -> Sequence[IndexedSample]:
        query = (
            select(SampleRow)
            .where(SampleRow.dataset == dataset, SampleRow.sha256 > after)
            .order_by(SampleRow.sha256)
            .limit(PAGE)
        )
        async with self.database.session(read_only=True) as session:
            return [_sample(row) for row in await session.scalars(query)]


def _sample(row: SampleRow) -> IndexedSample:
    return IndexedSample(
        row.sha256,
        row.dataset,
        Split(row.split),
        row.subject,
        row.image_key,
        row.labels_key,
        row.revision,
        row.labels,
        row.stored_at,
    )
