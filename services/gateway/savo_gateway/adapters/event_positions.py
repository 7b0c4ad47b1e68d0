"""Stores the Kafka offsets of each scan's events: those that the gateway read and those that its outbox published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.envelope import Envelope, RecordRef
from savo_contracts.samples import SampleRejected
from savo_contracts.scans import ScanFailed
from savo_gateway.adapters.tables import RecordRow
from savo_gateway.scans.records import EventPosition
from savo_runtime.database import Database, insert_once
from savo_runtime.messaging.consuming.subscriptions import Outcome, Subscription
from savo_runtime.messaging.publishing.tables import OutboxRow

__all__ = ["SqlEventPositions"]

_NOTE_LENGTH = 300


@dataclass(frozen=True)
class SqlEventPositions:
    """Implements `ports.EventPositions`. A repeated record changes nothing."""

    database: Database

    async def of_scan(self, scan_id: str) -> Sequence[EventPosition]:
        query = (
            select(RecordRow)
            .where(RecordRow.scan_id == scan_id)
            .order_by(RecordRow.published_at, RecordRow.topic, RecordRow.offset)
        )
        async with self.database.session(read_only=True) as session:
            return [_position(row) for row in await session.scalars(query)]

    def wrap(self, subscription: Subscription) -> Subscription:
        """The subscription, with each event's position recorded after it is handled."""

        async def handle(envelope: Envelope[Any]) -> Outcome:
            outcome = await subscription.handle(envelope)
            if envelope.record is not None:
                scan_id, note = envelope.event.scan_id, _note_of(envelope.event)
                async with self.database.session() as session:
                    await _record(session, scan_id, str(envelope.id), envelope.record, note)
            return outcome

        return replace(subscription, handle=handle)

    async def published(self, session: AsyncSession, published: Sequence[tuple[OutboxRow, RecordRef]]) -> None:
        """Record the events of scans among those that the outbox published: for `Service.on_published`."""
        for row, record in published:
            if scan_id := json.loads(row.body).get("scan_id"):
                await _record(session, scan_id, str(row.event_id), record, "")


async def _record(session: AsyncSession, scan_id: str, event_id: str, record: RecordRef, note: str) -> None:
    values = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "scan_id": scan_id,
        "event_id": event_id,
        "published_at": record.at,
        "heard_at": datetime.now(UTC),
        "note": note[:_NOTE_LENGTH],
    }
    await insert_once(session, RecordRow, values)


def _note_of(event: Any) -> str:
    if isinstance(event, SampleRejected):
        return f"{event.reason}: {event.detail}" if event.detail else event.reason
    return event.code if isinstance(event, ScanFailed) else ""


def _position(row: RecordRow) -> EventPosition:
    return EventPosition(
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        event_id=row.event_id,
        published_at=row.published_at,
        heard_at=row.heard_at,
        note=row.note,
    )
