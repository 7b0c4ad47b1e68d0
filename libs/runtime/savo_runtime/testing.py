"""Fakes for tests of services: an object store in memory, recorded events, a fixed clock, and a runtime of them."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, event
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.envelope import Event, derived_id
from savo_contracts.topics import SERVICES, topic_of
from savo_runtime.database import Database
from savo_runtime.messaging.publishing.declared_topics import check_declared
from savo_runtime.messaging.publishing.outbox import Outbox
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.runtime import Runtime
from savo_runtime.schema import migrate
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.keys import valid_key
from savo_runtime.storage.port import ObjectConflictError, ObjectInfo, ObjectNotFoundError

__all__ = [
    "FakeClock",
    "MemoryStore",
    "RecordingOutbox",
    "RecordingPublisher",
    "assert_migrations_match",
    "memory_runtime",
    "published_by_outbox",
]


class FakeClock:
    """A clock that moves only by `advance`."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime(2026, 1, 5, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float = 0.0, *, days: float = 0.0) -> datetime:
        self.now += timedelta(days=days, seconds=seconds)
        return self.now


class MemoryStore:
    """An `ObjectStore` in memory. `failure`, when set, is raised by every call, as if the store were unavailable."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.failure: Exception | None = None

    async def put(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        self.objects[self._checked(key)] = bytes(data)
        return _info(key, data)

    async def put_if_absent(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> bool:
        if self._checked(key) in self.objects:
            return False
        self.objects[key] = bytes(data)
        return True

    async def replace(
        self, key: str, data: bytes, *, expected_etag: str | None, media_type: str = "application/octet-stream"
    ) -> ObjectInfo:
        current = self.objects.get(self._checked(key))
        if (None if current is None else _info(key, current).etag) != expected_etag:
            raise ObjectConflictError(key)
        return await self.put(key, data)

    async def get(self, key: str) -> bytes:
        data = self.objects.get(self._checked(key))
        if data is None:
            raise ObjectNotFoundError(key)
        return data

    async def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        data = await self.get(key)
        return data, _info(key, data)

    async def head(self, key: str) -> ObjectInfo | None:
        data = self.objects.get(self._checked(key))
        return None if data is None else _info(key, data)

    async def upload(self, key: str, path: Path, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        return await self.put(key, await asyncio.to_thread(path.read_bytes))

    async def download(self, key: str, path: Path) -> ObjectInfo:
        data, info = await self.read(key)
        await asyncio.to_thread(_write, path, data)
        return info

    async def delete(self, key: str) -> None:
        self.objects.pop(self._checked(key), None)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        for key in sorted((key for key in self.objects if key.startswith(prefix)), key=str.encode):
            yield _info(key, self.objects[key])

    async def check(self) -> None:
        self._checked("check")

    async def close(self) -> None:
        return None

    def _checked(self, key: str) -> str:
        if self.failure:
            raise self.failure
        return valid_key(key)


class RecordingPublisher:
    """Records published events and their ids, in order. `failure`, when set, is raised by every call."""

    def __init__(self) -> None:
        self.published: list[Event] = []
        self.ids: list[UUID] = []
        self.failure: Exception | None = None

    async def publish(self, event: Event, *, event_id: UUID | None = None) -> None:
        if self.failure:
            raise self.failure
        self.published.append(event)
        self.ids.append(event_id or uuid4())


class RecordingOutbox:
    """Records the events of committed transactions by id. A repeated id is recorded once.

    Raises `UndeclaredTopicError` like `Outbox`: for topics that the handler does not declare and, outside of handlers,
    for topics that the registry does not assign to a service of the product.
    """

    def __init__(self, service: str | None = None) -> None:
        self.committed: dict[UUID, Event] = {}
        self._service = service

    async def add(self, session: AsyncSession, *events: Event, event_id: UUID | None = None) -> None:
        for added in events:
            check_declared(topic_of(added), self._service if self._service in SERVICES else None)
        rows = {_row_id(added, event_id, alone=len(events) == 1): added for added in events}

        def keep(_session: Any) -> None:
            for row_id, row in rows.items():
                self.committed.setdefault(row_id, row)

        event.listen(session.sync_session, "after_commit", keep, once=True)


@asynccontextmanager
async def memory_runtime(
    service: str = "test",
    *,
    migrations: str | None = None,
    clock: Callable[[], datetime] | None = None,
    database: Database | None = None,
) -> AsyncIterator[Runtime]:
    """A `Runtime` with migrated tables, a `MemoryStore`, and recorded events.

    The tables are in SQLite in a temporary folder unless `database` is given.
    """
    with tempfile.TemporaryDirectory(prefix="savo-test-") as folder:
        tables = database or Database.open(RuntimeSettings(data_dir=Path(folder), database_url=None), service)
        try:
            await migrate(tables, migrations)
            yield Runtime(
                service=service,
                replica="test-0",
                store=MemoryStore(),
                database=tables,
                outbox=cast(Outbox, RecordingOutbox(service)),
                publisher=cast(Publisher, RecordingPublisher()),
                clock=clock or FakeClock(),
            )
        finally:
            if database is None:
                await tables.close()


async def published_by_outbox(runtime: Runtime) -> list[Event]:
    """The events that the relay would publish, in order."""
    return list(cast(RecordingOutbox, runtime.outbox).committed.values())


async def assert_migrations_match(versions_package: str, metadata: MetaData) -> None:
    """Assert that the service's migrations create exactly the tables in its code. Fails with the differences."""
    async with memory_runtime("runtime") as bare, memory_runtime("service", migrations=versions_package) as full:
        async with bare.database.engine.connect() as connection:
            shared = await connection.run_sync(_table_names)
        async with full.database.engine.connect() as connection:
            differences = await connection.run_sync(_differences, metadata, shared | {"alembic_version"})
    assert not differences, f"migrations of {versions_package} and its tables differ: {differences}"


def _row_id(added: Event, event_id: UUID | None, *, alone: bool) -> UUID:
    if event_id is None or alone:
        return event_id or uuid4()
    return derived_id(event_id, added.type, topic_of(added).key(added))


def _table_names(connection: Connection) -> set[str]:
    found = MetaData()
    found.reflect(connection)
    return set(found.tables)


def _differences(connection: Connection, metadata: MetaData, ignored: set[str]) -> list[Any]:
    def ours(_object: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
        return kind != "table" or name not in ignored

    return list(compare_metadata(MigrationContext.configure(connection, opts={"include_object": ours}), metadata))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _info(key: str, data: bytes) -> ObjectInfo:
    return ObjectInfo(key, len(data), hashlib.sha256(data).hexdigest())
