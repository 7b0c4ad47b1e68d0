"""Label files that data set versions keep by content, with the samples that they belong to.

Two samples may have equal label files. A file is deleted when no sample needs it any more. The object store may have
versions that this database does not know. Their manifests have the same pairs, and are read before files are deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Select, and_, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.documents import frozen_labels_key
from savo_runtime.database import Database
from savo_runtime.storage.concurrency import map_limited
from savo_runtime.storage.digests import file_sha256
from savo_runtime.storage.port import ObjectStore
from savo_trainer.adapters.tables import ErasedSampleRow, FrozenLabelsRow, LeaseRow, SampleRow
from savo_trainer.errors import UnknownVersionError
from savo_trainer.versions.catalogue import fetch_version, versions_with_manifest
from savo_trainer.versions.manifest import PAGE, has_frozen_labels, line_pages

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

    async def complete(self) -> None:
        added: dict[str, str] = {}
        for version in await self._unrecorded(await versions_with_manifest(self.store)):
            if (manifest_sha256 := await self._add_pairs_of(version)) is not None:
                added[version] = manifest_sha256
        if added:
            await self._release_erased()
        for version, manifest_sha256 in added.items():
            await self.add_version(version, manifest_sha256)

    async def add_version(self, version: str, manifest_sha256: str) -> None:
        await self.add([(manifest_sha256, version)])

    async def forget_version(self, version: str) -> None:
        async with self._locked() as session:
            await session.execute(delete(FrozenLabelsRow).where(FrozenLabelsRow.sha256 == version))

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
        await self.complete()
        of_sample = select(FrozenLabelsRow.labels_sha256).where(FrozenLabelsRow.sha256 == sha256)
        async with self.database.session(read_only=True) as session:
            labels = list(await session.scalars(of_sample))
        await self.release([(each, sha256) for each in labels])

    async def _unrecorded(self, versions: Sequence[str]) -> list[str]:
        row, recorded = FrozenLabelsRow, set[str]()
        async with self.database.session(read_only=True) as session:
            for start in range(0, len(versions), _PAIRS):
                names = versions[start : start + _PAIRS]
                recorded |= set(await session.scalars(select(row.sha256).where(row.sha256.in_(names))))
        return [version for version in versions if version not in recorded]

    async def _add_pairs_of(self, version: str) -> str | None:
        """Add the pairs of a version that the object store has; returns the sha256 of its manifest.

        None for a version that is removed.
        """
        with TemporaryDirectory(prefix="savo-labels-") as folder:
            try:
                manifest = await fetch_version(version, self.store, Path(folder))
            except UnknownVersionError:
                return None
            async for lines in line_pages(manifest):
                await self.add([(line.labels_sha256, line.sha256) for line in lines if has_frozen_labels(line)])
            return await asyncio.to_thread(file_sha256, manifest.path)

    async def _release_erased(self) -> None:
        """Release the pairs of samples that were erased: manifests still list them."""
        row = FrozenLabelsRow
        pairs = (
            select(row.labels_sha256, row.sha256)
            .join(ErasedSampleRow, ErasedSampleRow.sha256 == row.sha256)
            .outerjoin(SampleRow, SampleRow.sha256 == row.sha256)
            .where(SampleRow.sha256.is_(None))
            .limit(PAGE)
        )
        while page := await self._pairs(pairs):
            await self.release(page)

    async def _pairs(self, query: Select[str, str]) -> list[Pair]:
        async with self.database.session(read_only=True) as session:
            return [(labels, sha256) for labels, sha256 in await session.execute(query)]

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
