"""Transactional outbox: stores an event in the same transaction as the change, and a relay publishes it afterwards.

    add(session, event)  ──same transaction as the change──►  row  ──relay──►  Kafka acknowledges  ──►  row deleted

After a crash between the acknowledgement and the deletion, the row is published again under the same `ce_id`, on which
consumers deduplicate. With several replicas, one relay runs at a time (a PostgreSQL advisory lock). Skipping locked
rows instead would let rows overtake each other and break the order of a key. The other relays retry every half second.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Protocol
from uuid import UUID, uuid4

import structlog
from sqlalchemy import delete, event, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.envelope import Envelope, Event, RecordRef, derived_id
from savo_contracts.topics import topic_of
from savo_runtime.database import insert_once
from savo_runtime.errors import SavoError
from savo_runtime.messaging.publishing.declared_topics import check_declared
from savo_runtime.messaging.publishing.publisher import OutgoingRecord
from savo_runtime.messaging.publishing.tables import OutboxRow
from savo_runtime.messaging.replay_mark import current_replay
from savo_runtime.messaging.tracing import current_traceparent, producer_span
from savo_runtime.timing.clock import utc_now

__all__ = ["OnPublished", "Outbox", "OutboxRelay", "Sender", "Sessions"]

log = structlog.get_logger()

BATCH = 200

OnPublished = Callable[[AsyncSession, Sequence[tuple[OutboxRow, RecordRef]]], Awaitable[None]]
"""Called with acknowledged rows and their positions in Kafka, within the transaction that deletes the rows."""


class Sessions(Protocol):
    """A source of transactions: `savo_runtime.database.Database`."""

    @property
    def is_sqlite(self) -> bool: ...

    def session(self, *, read_only: bool = False) -> AbstractAsyncContextManager[AsyncSession]: ...


class Sender(Protocol):
    """Sends records to Kafka in order: `Publisher`."""

    async def send_all(self, records: Sequence[OutgoingRecord]) -> Sequence[RecordRef]: ...


class Outbox:
    """Stores events within a service's own transaction; `OutboxRelay` publishes them."""

    def __init__(self, service: str, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.added = asyncio.Event()
        """Set when this process has committed a transaction with new rows."""
        self._new_rows: list[OutboxRow] | None = []
        self._service = service
        self._clock = clock

    async def add(self, session: AsyncSession, *events: Event, event_id: UUID | None = None) -> None:
        """Publish the events in this order after the session's transaction commits. A repeated id is stored once.

        `event_id` is the id of a single event; with several events, their ids are derived from it. Raises
        `UndeclaredTopicError`.
        """
        rows = [
            await self._insert(session, message, _id_of(message, event_id, alone=len(events) == 1))
            for message in events
        ]
        event.listen(
            session.sync_session, "after_commit", lambda _: self._committed([row for row in rows if row]), once=True
        )

    def pop_new_rows(self) -> list[OutboxRow] | None:
        """Rows that this process has committed since the last call, in order; None for more than a batch."""
        rows, self._new_rows = self._new_rows, []
        return rows

    def _committed(self, rows: list[OutboxRow]) -> None:
        if self._new_rows is not None:
            self._new_rows = self._new_rows + rows if len(self._new_rows) + len(rows) <= BATCH else None
        self.added.set()

    async def _insert(self, session: AsyncSession, message: Event, event_id: UUID) -> OutboxRow | None:
        topic, time = topic_of(message), self._clock()
        check_declared(topic, self._service)
        envelope = Envelope.new(
            message,
            self._service,
            event_id=event_id,
            time=time,
            traceparent=current_traceparent(),
            replay=current_replay(),
        )
        row = {
            "event_id": event_id,
            "topic": topic.name,
            "key": topic.key(message),
            "headers": {name: value.decode() for name, value in envelope.headers()},
            "body": envelope.body().decode(),
            "created_at": time,
        }
        return OutboxRow(**row) if await insert_once(session, OutboxRow, row) else None


class OutboxRelay:
    """Worker that publishes the rows of the outbox. `poll_every`: seconds between two queries of the table."""

    def __init__(
        self,
        database: Sessions,
        publisher: Sender,
        outbox: Outbox,
        service: str,
        *,
        poll_every: float = 0.5,
        on_published: OnPublished | None = None,
    ) -> None:
        self._on_published = on_published
        self._database = database
        self._publisher = publisher
        self._outbox = outbox
        self._lock_key = zlib.crc32(f"savo.outbox.{service}".encode())
        self._poll_every = poll_every
        self._must_query = True
        """The table may hold rows that are unknown here: after a start, an error or a full batch, and on PostgreSQL."""
        self._queried_at = 0.0

    async def run(self) -> None:
        """Returns only when cancelled. While the database or Kafka is down it waits."""
        while True:
            self._outbox.added.clear()
            try:
                more = await self.relay_once() == BATCH
            except SavoError as error:
                log.warning("outbox.publish_delayed", reason=error.reason, error=str(error))
                more = False
            if not more:
                await self._wait()

    async def relay_once(self) -> int:
        """Publish the oldest rows, then delete them; returns their number. Keeps them on `DependencyDownError`.

        No write transaction is open while waiting for Kafka, because SQLite has a single writer.
        """
        async with self._lock() as is_locked:
            rows, must_query = await self._next() if is_locked else ([], True)
            self._must_query = True
            if rows:
                placed = await self._publish(rows)
                async with self._database.session() as session:
                    if self._on_published:
                        await self._on_published(session, list(zip(rows, placed, strict=True)))
                    await session.execute(
                        delete(OutboxRow).where(OutboxRow.event_id.in_([row.event_id for row in rows]))
                    )
            self._must_query = must_query
            return len(rows)

    async def count_unsent(self) -> int:
        """Number of events in the outbox. Raises `DependencyDownError` while the database is down."""
        async with self._database.session(read_only=True) as session:
            return await session.scalar(select(func.count()).select_from(OutboxRow)) or 0

    async def _next(self) -> tuple[Sequence[OutboxRow], bool]:
        """Rows to publish, and whether the table must be queried next time.

        Rows that this process has just committed are published without a query.
        """
        new_rows, now = self._outbox.pop_new_rows(), time.monotonic()
        if new_rows and not self._must_query and now - self._queried_at < 2 * self._poll_every:
            return new_rows, False
        self._must_query, self._queried_at = True, now  # a command in another process may have added rows
        rows = await self._oldest()
        added_meanwhile = self._outbox.pop_new_rows() != []  # the query may have returned them already
        return rows, added_meanwhile or len(rows) == BATCH or not self._database.is_sqlite

    async def _publish(self, rows: Sequence[OutboxRow]) -> Sequence[RecordRef]:
        """Publish each row in the trace of the request that added it."""
        with ExitStack() as spans:
            records = [_record_of(row) for row in rows]
            traced = [
                replace(record, headers=spans.enter_context(producer_span(record.topic, record.headers)))
                for record in records
            ]
            return await self._publisher.send_all(traced)

    async def _oldest(self) -> Sequence[OutboxRow]:
        async with self._database.session(read_only=True) as session:
            return (await session.scalars(select(OutboxRow).order_by(OutboxRow.id).limit(BATCH))).all()

    @asynccontextmanager
    async def _lock(self) -> AsyncIterator[bool]:
        """Holds the relay lock; yields False while another replica has it. With SQLite there is one replica."""
        if self._database.is_sqlite:
            yield True
            return
        async with self._database.session(read_only=True) as session:
            yield bool(await session.scalar(select(func.pg_try_advisory_xact_lock(self._lock_key))))

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll_every):
                await self._outbox.added.wait()
        except TimeoutError:
            return


def _id_of(message: Event, event_id: UUID | None, *, alone: bool) -> UUID:
    if event_id is None or alone:
        return event_id or uuid4()
    return derived_id(event_id, message.type, topic_of(message).key(message))


def _record_of(row: OutboxRow) -> OutgoingRecord:
    return OutgoingRecord(
        row.topic, row.key.encode(), row.body.encode(), [(name, value.encode()) for name, value in row.headers.items()]
    )
