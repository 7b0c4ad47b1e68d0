"""Inbox: remembers processed event ids, so that a repeated record has no effect."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from savo_runtime.database import insert_once
from savo_runtime.messaging.publishing.tables import ProcessedEvent

__all__ = ["mark_processed"]


async def mark_processed(session: AsyncSession, event_id: UUID) -> bool:
    """Mark an event as processed; False when it already was. Takes effect when the caller's transaction commits.

    On PostgreSQL, a second caller with the same id waits until the transaction of the first has ended.
    """
    return await insert_once(session, ProcessedEvent, {"event_id": event_id})
