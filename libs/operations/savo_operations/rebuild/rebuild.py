"""A service's projection built anew from its topics, beside the live one; compared by a hash; put in its place on demand.

    fresh tables ── seeds copied ── topics applied in the order of time, to the ends they had ── compared with a still picture of the live ones
                                                                                              └─ apply: live tables locked, the rest applied, swapped

The service may go on meanwhile: what it commits before the lock is in the topics by then, so catching up under the lock loses nothing.
Nothing reaches the outside (`silence`). What no topic tells is left as it is (`Projection.not_rebuilt`, `ProjectedTable.own_columns`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord
from sqlalchemy import delete, insert, select, text, tuple_, update
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

from savo_operations.rebuild.ordered_reader import OrderedReader, open_ordered_reader
from savo_operations.rebuild.silent_runtime import RecordClock, silent_runtime
from savo_operations.rebuild.table_comparison import TableComparison, batches, by_key, compare, key_of, same
from savo_runtime.database import Database
from savo_runtime.errors import FatalError, InvalidMessageError
from savo_runtime.messaging.consuming.records import decode
from savo_runtime.messaging.consuming.subscriptions import Subscription
from savo_runtime.projection import Fold, ProjectedTable, Projection
from savo_runtime.schema import migrate
from savo_runtime.service import ServiceDefinition
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.factory import open_store

__all__ = ["RebuildReport", "projection_of", "rebuild", "rebuilt_tables_location"]

COMPARISONS = 3
"""Times that a difference is looked at again: a service that runs may be a moment behind its topics."""

SECONDS_BETWEEN_COMPARISONS = 1.0

OnProgress = Callable[[int, int], None]


@dataclass
class RebuildReport:
    """What came of it. `equal` is about the live tables before anything was applied."""

    service: str
    records: int = 0
    passed_over: int = 0
    """Records that cannot be read: the service set them aside as well."""
    carried: dict[str, int] = field(default_factory=dict)
    """Rows by table that no event tells of any more (or ever did), taken over as they are."""
    tables: list[TableComparison] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    applied: bool = False

    @property
    def equal(self) -> bool:
        return all(table.equal for table in self.tables)


def projection_of(definition: ServiceDefinition) -> Projection:
    """Raises `FatalError` for a service that keeps nothing from topics."""
    if definition.projection is None:
        raise FatalError(f"{definition.name} keeps nothing that could be rebuilt from topics")
    return definition.projection


async def rebuild(
    definition: ServiceDefinition,
    settings: RuntimeSettings,
    *,
    apply: bool = False,
    keep: bool = False,
    on_progress: OnProgress = lambda _done, _total: None,
    comparisons: int = COMPARISONS,
) -> RebuildReport:
    """`keep` leaves the fresh tables beside the live ones. Raises `DependencyDownError` and `FatalError`; then the live ones are as they were."""
    projection = projection_of(definition)
    outcome = RebuildReport(definition.name, left=dict(projection.not_rebuilt))
    live, store, clock = Database.open(settings, definition.name), open_store(settings), RecordClock()
    try:
        await migrate(live, definition.migrations)
        async with (
            _fresh(settings, definition, keep=keep) as fresh,
            open_ordered_reader(settings, projection.topics) as reader,
        ):
            fold = projection.fold(settings, silent_runtime(settings, definition.name, fresh, store, clock))
            work = _RebuildRun(projection, fold, clock, live, fresh, reader, outcome)
            work.on_progress = on_progress
            await work.copy()
            await work.catch_up()
            await work.compare_repeatedly(comparisons)
            if apply:
                await work.swap()
                outcome.applied = True
    finally:
        await store.close()
        await live.close()
    return outcome


def rebuilt_tables_location(settings: RuntimeSettings, service: str) -> str:
    """Where the fresh tables are, for people."""
    return (
        f"schema {service}_rebuilt"
        if settings.database_url
        else str(settings.own_dir / "db" / f"{service}_rebuilt.sqlite3")
    )


@asynccontextmanager
async def _fresh(settings: RuntimeSettings, definition: ServiceDefinition, *, keep: bool) -> AsyncIterator[Database]:
    """Empty tables of the same form; what an earlier rebuild left there is dropped."""
    database = Database.open(settings, f"{definition.name}_rebuilt")
    try:
        await _drop(database)
        await migrate(database, definition.migrations)
        yield database
    finally:
        if not keep:
            await _drop(database)
        await database.close()


async def _drop(database: Database) -> None:
    await database.engine.dispose()
    if database.is_sqlite:
        await asyncio.to_thread(_unlink, database.url)
        return
    async with database.session() as session:
        await session.execute(text(f'DROP SCHEMA IF EXISTS "{database.service}" CASCADE'))


def _unlink(url: URL) -> None:
    for ending in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{url.database}{ending}").unlink()


class _RebuildRun:
    """One rebuild under way."""

    def __init__(
        self,
        projection: Projection,
        fold: Fold,
        clock: RecordClock,
        live: Database,
        fresh: Database,
        reader: OrderedReader,
        outcome: RebuildReport,
    ) -> None:
        self.projection = projection
        self.live = live
        self.fresh = fresh
        self.reader = reader
        self.outcome = outcome
        self.on_progress: OnProgress = lambda _done, _total: None
        self._fold = fold
        self._clock = clock
        self._by_topic: dict[str, Subscription] = {one.topic.name: one for one in fold.subscriptions}

    async def copy(self) -> None:
        for read_table in self.projection.read_tables:
            await self._copy(ProjectedTable(table=read_table, topics=(), seed={}), None)
        for table in self.projection.tables:
            await self._copy(table, await self.reader.retained_since(table.topics) if table.time_column else None)

    async def catch_up(self) -> None:
        """Everything up to where the topics end now."""
        ends = await self.reader.ends()
        total, done = await self.reader.remaining(ends), 0
        self.on_progress(0, total)
        async for record in self.reader.read_until(ends):
            await self._apply(record)
            done += 1
            self.on_progress(done, total)
        self.on_progress(total, total)
        async with self.fresh.session() as session:
            await self._fold.finish(session)

    async def compare_repeatedly(self, comparisons: int) -> None:
        for look in range(comparisons):
            if look:
                await asyncio.sleep(SECONDS_BETWEEN_COMPARISONS)
            await self._compare()
            if self.outcome.equal:
                return

    async def swap(self) -> None:
        """Live tables locked, what came since applied to the fresh ones, then everything in one transaction."""
        async with self.live.session() as live:
            await self._lock(live)
            await self.catch_up()
            async with self.fresh.session(read_only=True) as fresh:
                for table in self.projection.tables:
                    await (_replace(table, live, fresh) if table.rows_from_topics else _correct(table, live, fresh))

    async def _apply(self, record: ConsumerRecord) -> None:
        subscription = self._by_topic[record.topic]
        if record.value is None:
            return  # a tombstone: the erasure itself is an event
        try:
            envelope = decode(subscription.topic, record)
        except InvalidMessageError:
            self.outcome.passed_over += 1
            return
        assert envelope.record is not None
        self._clock.now = envelope.record.at
        await subscription.handle(envelope)
        self.outcome.records += 1

    async def _compare(self) -> None:
        """The picture first, the topics' ends after it: what is in the picture is in the topics."""
        async with self.live.session(read_only=True) as live:
            await _hold_still(live)
            await self.catch_up()
            async with self.fresh.session(read_only=True) as fresh:
                self.outcome.tables = [await compare(table, live, fresh) for table in self.projection.tables]

    async def _lock(self, live: AsyncSession) -> None:
        if not self.live.is_sqlite:  # SQLite's transaction has the only write lock
            names = ", ".join(f'"{table.name}"' for table in self.projection.tables)
            await live.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))

    async def _copy(self, table: ProjectedTable, retained_since: datetime | None) -> None:
        """Seeds, and rows that topics do not tell (any more)."""
        carried = 0
        async with self.fresh.session() as fresh:
            await fresh.execute(delete(table.table))  # a migration may have put a row there
        async with self.live.session(read_only=True) as live:
            async for rows in batches(table, live):
                kept = await self._staying(table, live, rows, retained_since)
                copies = [
                    dict(row) | ({} if one else dict(table.seed or {}))
                    for row, one in zip(rows, kept, strict=True)
                    if one or table.seed is not None
                ]
                carried += sum(kept)
                if copies:
                    async with self.fresh.session() as fresh:
                        await fresh.execute(insert(table.table), copies)
        if carried:
            self.outcome.carried[table.name] = carried

    async def _staying(
        self, table: ProjectedTable, live: AsyncSession, rows: Any, retained_since: datetime | None
    ) -> list[bool]:
        old = [
            bool(
                table.time_column
                and retained_since
                and row[table.time_column]
                and row[table.time_column] < retained_since
            )
            for row in rows
        ]
        if table.kept_rows is None:
            return old
        staying = await _keys_where(table, live, rows)
        return [one or key_of(table, row) in staying for one, row in zip(old, rows, strict=True)]


async def _keys_where(table: ProjectedTable, live: AsyncSession, rows: Any) -> set[tuple[Any, ...]]:
    keys = [table.table.c[name] for name in table.key_columns]
    first, last = (key_of(table, row) for row in (rows[0], rows[-1]))
    assert table.kept_rows is not None
    found = await live.execute(
        select(*keys).where(table.kept_rows, tuple_(*keys) >= tuple_(*first), tuple_(*keys) <= tuple_(*last))
    )
    return {tuple(row) for row in found}


async def _hold_still(live: AsyncSession) -> None:
    """One picture for the whole transaction."""
    if live.get_bind().dialect.name == "postgresql":
        await live.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    await live.execute(text("SELECT count(*) FROM alembic_version"))


async def _replace(table: ProjectedTable, live: AsyncSession, fresh: AsyncSession) -> None:
    await live.execute(delete(table.table))
    async for rows in batches(table, fresh):
        await live.execute(insert(table.table), [dict(row) for row in rows])


async def _correct(table: ProjectedTable, live: AsyncSession, fresh: AsyncSession) -> None:
    """Rows that are in both and differ."""
    async for rows in batches(table, live):
        theirs = await by_key(table, fresh, rows)
        for row in rows:
            other = theirs.get(key_of(table, row))
            if other is not None and not same(table, row, other):
                # What is its own stays, and is filled where it is empty: the time of an answer that had been lost.
                told = [
                    name
                    for name in other
                    if name not in table.key_columns and (name not in table.own_columns or row[name] is None)
                ]
                where = [table.table.c[name] == row[name] for name in table.key_columns]
                await live.execute(update(table.table).where(*where).values({name: other[name] for name in told}))
