"""Runtime without side effects: it publishes nothing, writes no objects, and its time is the current record's."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.envelope import Event
from savo_runtime.database import Database
from savo_runtime.messaging.publishing.outbox import Outbox
from savo_runtime.messaging.publishing.publisher import OutgoingRecord, Publisher
from savo_runtime.runtime import Runtime
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.port import ObjectInfo, ObjectStore

__all__ = ["RecordClock", "SideEffectError", "silent_runtime"]


class SideEffectError(RuntimeError):
    """Code tried to publish an event or write an object during a rebuild: a bug in a handler."""


class RecordClock:
    """Clock that shows the time of the record that is applied."""

    def __init__(self) -> None:
        self.now = datetime.fromtimestamp(0, UTC)

    def __call__(self) -> datetime:
        return self.now


class SilentOutbox(Outbox):
    """Outbox that discards events: they were published when they happened."""

    async def add(self, session: AsyncSession, *events: Event, event_id: UUID | None = None) -> None:
        return None


class ForbiddenPublisher(Publisher):
    """Publisher that raises `SideEffectError` for every event."""

    async def send_all(self, records: Any) -> Any:
        topics = ", ".join(sorted({record.topic for record in records}))
        raise SideEffectError(f"a rebuild must not publish, but a handler sent a record to {topics}")

    async def send(self, record: OutgoingRecord) -> None:
        await self.send_all([record])

    async def publish(self, event: Event, *, event_id: UUID | None = None) -> None:
        raise SideEffectError(f"a rebuild must not publish, but a handler published {type(event).__name__}")


class ReadOnlyStore:
    """The live object store, read only: every write raises `SideEffectError`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.get, self.read, self.head = store.get, store.read, store.head
        self.download, self.list = store.download, store.list
        self.check, self.close = store.check, store.close

    async def put(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        raise _write_error(key)

    async def put_if_absent(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> bool:
        raise _write_error(key)

    async def replace(
        self, key: str, data: bytes, *, expected_etag: str | None, media_type: str = "application/octet-stream"
    ) -> ObjectInfo:
        raise _write_error(key)

    async def upload(self, key: str, path: Path, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        raise _write_error(key)

    async def delete(self, key: str) -> None:
        raise _write_error(key)


def _write_error(key: str) -> SideEffectError:
    return SideEffectError(f"a rebuild must not write objects, but a handler wrote {key}")


def silent_runtime(
    settings: RuntimeSettings, service: str, database: Database, store: ObjectStore, clock: RecordClock
) -> Runtime:
    """The runtime for a rebuild: it writes to `database` only."""
    outbox, publisher = SilentOutbox(service), ForbiddenPublisher(settings, service)
    return Runtime(service, "rebuild", ReadOnlyStore(store), database, outbox, publisher, clock)
