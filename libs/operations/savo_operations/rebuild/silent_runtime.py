"""A runtime without side effects: nothing is published, nothing is written to the object store, time is the record's."""

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
    """Something wanted to reach the outside during a rebuild: a bug of ours."""


class RecordClock:
    """Shows the time of the record that is being applied."""

    def __init__(self) -> None:
        self.now = datetime.fromtimestamp(0, UTC)

    def __call__(self) -> datetime:
        return self.now


class SilentOutbox(Outbox):
    """What was published when it happened is not published again."""

    async def add(self, session: AsyncSession, *events: Event, event_id: UUID | None = None) -> None:
        return None


class SilentPublisher(Publisher):
    async def send_all(self, records: Any) -> Any:
        raise SideEffectError(
            f"a rebuild publishes nothing, and something was sent to {', '.join({record.topic for record in records})}"
        )

    async def send(self, record: OutgoingRecord) -> None:
        await self.send_all([record])

    async def publish(self, event: Event, *, event_id: UUID | None = None) -> None:
        raise SideEffectError(f"a rebuild publishes nothing, and {type(event).__name__} was")


class ReadOnlyStore:
    """The live object store, to look at. Whatever writes raises `SideEffectError`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.get, self.read, self.head = store.get, store.read, store.head
        self.download, self.list = store.download, store.list
        self.check, self.close = store.check, store.close

    async def put(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        raise _written(key)

    async def put_if_absent(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> bool:
        raise _written(key)

    async def replace(
        self, key: str, data: bytes, *, expected_etag: str | None, media_type: str = "application/octet-stream"
    ) -> ObjectInfo:
        raise _written(key)

    async def upload(self, key: str, path: Path, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        raise _written(key)

    async def delete(self, key: str) -> None:
        raise _written(key)


def _written(key: str) -> SideEffectError:
    return SideEffectError(f"a rebuild writes no objects, and {key} was written")


def silent_runtime(
    settings: RuntimeSettings, service: str, database: Database, store: ObjectStore, clock: RecordClock
) -> Runtime:
    return Runtime(
        service,
        "rebuild",
        ReadOnlyStore(store),
        database,
        SilentOutbox(service),
        SilentPublisher(settings, service),
        clock,
    )
