"""Rebuild of a service's projection from its topics, comparison with the live tables, and replacement on demand.

1. Create empty tables beside the live ones, and copy the rows that topics do not hold.
2. Apply the topics' events in the order of time, up to the current end offsets.
3. Compare the rebuilt tables with a snapshot of the live ones.
4. With `apply`: lock the live tables, apply the events since, replace the rows in one transaction.

The service may keep running: everything it commits before the lock is in the topics by then, so step 4 loses nothing.
The rebuild has no side effects (`silent_runtime`). Data that no topic holds stays unchanged (`Projection.not_rebuilt`,
`ProjectedTable.own_columns`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord
from sqlalchemy import delete, insert, select, text, tuple_, update
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

from savo_operations.rebuild.ordered_reader import OrderedReader, open_ordered_reader
from savo_operations.rebuild.silent_runtime import RecordClock, silent_runtime
from savo_operations.rebuild.table_comparison import (
    TableComparison,
    compare_tables,
    key_of,
    row_batches,
    rows_by_key,
    rows_equal,
)
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
"""Comparisons until a difference counts: a running service may be a moment behind its topics."""

SECONDS_BETWEEN_COMPARISONS = 1.0

OnProgress = Callable[[int, int], None]
"""Called with the events applied so far, and all events."""


@dataclass
class RebuildReport:
    """Result of a rebuild. In JSON: `savo rebuild --json`, whose keys are those of its first release."""

    service: str
    records: int = 0
    """Events applied."""
    undecodable: int = 0
    """Records that cannot be decoded; the service moved them to its dead letters."""
    copied_rows: dict[str, int] = field(default_factory=dict)
    """Rows of each table that no event describes (any more), copied unchanged."""
    tables: list[TableComparison] = field(default_factory=list)
    """Comparison of each table, before anything was applied."""
    not_rebuilt: dict[str, str] = field(default_factory=dict)
    """Tables and columns that stay unchanged → the reason."""
    applied: bool = False

    @property
    def equal(self) -> bool:
        return all(table.equal for table in self.tables)

    def as_json(self) -> dict[str, Any]:
        counts = {"records": self.records, "passed_over": self.undecodable, "carried": self.copied_rows}
        tables = [{**asdict(table), "equal": table.equal} for table in self.tables]
        unchanged = {"left": self.not_rebuilt, "applied": self.applied, "equal": self.equal}
        return {"service": self.service, **counts, "tables": tables, **unchanged}


def projection_of(definition: ServiceDefinition) -> Projection:
    """The service's projection. Raises `FatalError` if it has none."""
    if definition.projection is None:
        raise FatalError(f"{definition.name} has no tables that could be rebuilt from topics")
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
    """Rebuilds the service's projection and compares it with the live tables, `comparisons` times at most.

    `apply` replaces the live rows. `keep` leaves the rebuilt tables beside the live ones.
    Raises `DependencyDownError` when Kafka, the database or the object store is not available, and `FatalError`. The
    live tables are unchanged then.
    """
    projection = projection_of(definition)
    report = RebuildReport(definition.name, not_rebuilt=dict(projection.not_rebuilt))
    live_database, store, clock = Database.open(settings, definition.name), open_store(settings), RecordClock()
    try:
        await migrate(live_database, definition.migrations)
        async with (
            _empty_database(settings, definition, keep=keep) as rebuilt_database,
            open_ordered_reader(settings, projection.topics) as reader,
        ):
            fold = projection.fold(settings, silent_runtime(settings, definition.name, rebuilt_database, store, clock))
            run = _RebuildRun(projection, fold, clock, live_database, rebuilt_database, reader, report)
            run.on_progress = on_progress
            await run.copy_rows()
            await run.catch_up()
            await run.compare_repeatedly(comparisons)
            if apply:
                await run.replace_live_rows()
                report.applied = True
    finally:
        await store.close()
        await live_database.close()
    return report


def rebuilt_tables_location(settings: RuntimeSettings, service: str) -> str:
    """Schema or file of the rebuilt tables, for messages."""
    if settings.database_url:
        return f"schema {service}_rebuilt"
    return str(settings.own_dir / "db" / f"{service}_rebuilt.sqlite3")


@asynccontextmanager
async def _empty_database(
    settings: RuntimeSettings, definition: ServiceDefinition, *, keep: bool
) -> AsyncIterator[Database]:
    """Empty tables with the service's schema. Tables of an earlier rebuild are dropped."""
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
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{url.database}{suffix}").unlink()


class _RebuildRun:
    def __init__(
        self,
        projection: Projection,
        fold: Fold,
        clock: RecordClock,
        live_database: Database,
        rebuilt_database: Database,
        reader: OrderedReader,
        report: RebuildReport,
    ) -> None:
        self.projection = projection
        self.live_database = live_database
        self.rebuilt_database = rebuilt_database
        self.reader = reader
        self.report = report
        self.on_progress: OnProgress = lambda _done, _total: None
        self._fold = fold
        self._clock = clock
        self._by_topic: dict[str, Subscription] = {each.topic.name: each for each in fold.subscriptions}

    async def copy_rows(self) -> None:
        for read_table in self.projection.read_tables:
            await self._copy(ProjectedTable(table=read_table, topics=(), seed={}), None)
        for table in self.projection.tables:
            await self._copy(table, await self.reader.retained_since(table.topics) if table.time_column else None)

    async def catch_up(self) -> None:
        """Applies every event up to the current end offsets."""
        ends = await self.reader.ends()
        total, done = await self.reader.remaining(ends), 0
        self.on_progress(0, total)
        async for record in self.reader.read_until(ends):
            await self._apply(record)
            done += 1
            self.on_progress(done, total)
        self.on_progress(total, total)
        async with self.rebuilt_database.session() as session:
            await self._fold.finish(session)

    async def compare_repeatedly(self, comparisons: int) -> None:
        for attempt in range(comparisons):
            if attempt:
                await asyncio.sleep(SECONDS_BETWEEN_COMPARISONS)
            await self._compare()
            if self.report.equal:
                return

    async def replace_live_rows(self) -> None:
        """Locks the live tables, applies the events since, and copies the rebuilt rows, in one transaction."""
        async with self.live_database.session() as live:
            await self._lock(live)
            await self.catch_up()
            async with self.rebuilt_database.session(read_only=True) as rebuilt:
                for table in self.projection.tables:
                    await (
                        _replace_rows(table, live, rebuilt)
                        if table.rows_from_topics
                        else _correct_rows(table, live, rebuilt)
                    )

    async def _apply(self, record: ConsumerRecord) -> None:
        subscription = self._by_topic[record.topic]
        if record.value is None:
            return  # a tombstone: the erasure is also an event of its own
        try:
            envelope = decode(subscription.topic, record)
        except InvalidMessageError:
            self.report.undecodable += 1
            return
        assert envelope.record is not None
        self._clock.now = envelope.record.at
        await subscription.handle(envelope)
        self.report.records += 1

    async def _compare(self) -> None:
        # The snapshot comes before the end offsets, so the topics hold everything that the snapshot contains.
        async with self.live_database.session(read_only=True) as live:
            await _take_snapshot(live)
            await self.catch_up()
            async with self.rebuilt_database.session(read_only=True) as rebuilt:
                self.report.tables = [await compare_tables(table, live, rebuilt) for table in self.projection.tables]

    async def _lock(self, live: AsyncSession) -> None:
        if not self.live_database.is_sqlite:  # a write transaction locks the whole SQLite file
            names = ", ".join(f'"{table.name}"' for table in self.projection.tables)
            await live.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))

    async def _copy(self, table: ProjectedTable, retained_since: datetime | None) -> None:
        """Copies seed rows, and rows that the topics do not hold (any more)."""
        copied = 0
        async with self.rebuilt_database.session() as rebuilt:
            await rebuilt.execute(delete(table.table))  # a migration may have inserted a row
        async with self.live_database.session(read_only=True) as live:
            async for rows in row_batches(table, live):
                kept = await self._are_kept(table, live, rows, retained_since)
                copies = [
                    dict(row) | ({} if is_kept else dict(table.seed or {}))
                    for row, is_kept in zip(rows, kept, strict=True)
                    if is_kept or table.seed is not None
                ]
                copied += sum(kept)
                if copies:
                    async with self.rebuilt_database.session() as rebuilt:
                        await rebuilt.execute(insert(table.table), copies)
        if copied:
            self.report.copied_rows[table.name] = copied

    async def _are_kept(
        self, table: ProjectedTable, live: AsyncSession, rows: Any, retained_since: datetime | None
    ) -> list[bool]:
        """For each row: whether it is older than its topics' records, or the table keeps it by its condition."""

        def is_old(row: Any) -> bool:
            time = row[table.time_column] if table.time_column else None
            return bool(time and retained_since and time < retained_since)

        kept_keys = set() if table.kept_rows is None else await _keys_of_kept_rows(table, live, rows)
        return [is_old(row) or key_of(table, row) in kept_keys for row in rows]


async def _keys_of_kept_rows(table: ProjectedTable, live: AsyncSession, rows: Any) -> set[tuple[Any, ...]]:
    keys = [table.table.c[name] for name in table.key_columns]
    first, last = (key_of(table, row) for row in (rows[0], rows[-1]))
    assert table.kept_rows is not None
    found = await live.execute(
        select(*keys).where(table.kept_rows, tuple_(*keys) >= tuple_(*first), tuple_(*keys) <= tuple_(*last))
    )
    return {tuple(row) for row in found}


async def _take_snapshot(live: AsyncSession) -> None:
    """Makes all later reads of the transaction see the data of this moment."""
    if live.get_bind().dialect.name == "postgresql":
        await live.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    await live.execute(text("SELECT count(*) FROM alembic_version"))


async def _replace_rows(table: ProjectedTable, live: AsyncSession, rebuilt: AsyncSession) -> None:
    await live.execute(delete(table.table))
    async for rows in row_batches(table, rebuilt):
        await live.execute(insert(table.table), [dict(row) for row in rows])


async def _correct_rows(table: ProjectedTable, live: AsyncSession, rebuilt: AsyncSession) -> None:
    """Updates the live rows that differ from their rebuilt row."""
    async for rows in row_batches(table, live):
        rebuilt_rows = await rows_by_key(table, rebuilt, rows)
        for row in rows:
            rebuilt_row = rebuilt_rows.get(key_of(table, row))
            if rebuilt_row is not None and not rows_equal(table, row, rebuilt_row):
                values = {name: rebuilt_row[name] for name in rebuilt_row if _is_corrected(table, row, name)}
                where = [table.table.c[name] == row[name] for name in table.key_columns]
                await live.execute(update(table.table).where(*where).values(values))


def _is_corrected(table: ProjectedTable, row: Any, column: str) -> bool:
    # An own column keeps its value, and is filled if it is empty: the time of an answer that had been lost.
    return column not in table.key_columns and (column not in table.own_columns or row[column] is None)
