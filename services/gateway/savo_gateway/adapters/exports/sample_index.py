"""The stored samples in order of sha256, with the consents of their people, from the gateway's tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, join, or_, select

from savo_datasets.exports.sample_export import IndexedSample
from savo_gateway.adapters.tables import ConsentRow, SampleRow, ScanRow
from savo_runtime.database import Database

__all__ = ["SqlSampleIndex"]

_SAMPLES = join(SampleRow, ScanRow, ScanRow.scan_id == SampleRow.scan_id, isouter=True).join(
    ConsentRow, ConsentRow.subject == ScanRow.subject, isouter=True
)
_ALLOWED = and_(SampleRow.erased.is_(False), or_(ConsentRow.given.is_(None), ConsentRow.given.is_(True)))
"""Neither erased nor of a person who withdrew the consent."""


@dataclass(frozen=True)
class SqlSampleIndex:
    """Implements `SampleIndex`. Samples without a scan, such as imported ones, have no consent to withdraw."""

    database: Database

    async def page(
        self, after: str, since: datetime | None, until: datetime | None, limit: int
    ) -> Sequence[IndexedSample]:
        query = select(SampleRow.sha256, SampleRow.bytes, ConsentRow.text_version).select_from(_SAMPLES)
        query = query.where(_ALLOWED, SampleRow.sha256 > after).order_by(SampleRow.sha256).limit(limit)
        if since is not None:
            query = query.where(SampleRow.first_stored_at >= since)
        if until is not None:
            query = query.where(SampleRow.first_stored_at < until)
        async with self.database.session(read_only=True) as session:
            return [IndexedSample(*row) for row in await session.execute(query)]

    async def present(self, sha256: Sequence[str]) -> set[str]:
        query = select(SampleRow.sha256).select_from(_SAMPLES).where(_ALLOWED, SampleRow.sha256.in_(sha256))
        async with self.database.session(read_only=True) as session:
            return set(await session.scalars(query))

    async def image_bytes(self) -> int:
        query = select(func.coalesce(func.sum(SampleRow.bytes), 0)).select_from(_SAMPLES).where(_ALLOWED)
        async with self.database.session(read_only=True) as session:
            return int(await session.scalar(query) or 0)
