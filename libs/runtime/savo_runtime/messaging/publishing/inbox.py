"""Dedupe by event id: a repeated record changes nothing."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from savo_runtime.database import insert_once
from savo_runtime.messaging.publishing.tables import ProcessedEvent

__all__ = ["mark_processed"]


async def mark_processed(session: AsyncSession, event_id: UUID) -> bool:
    """Whether this event's effect is not in the database yet. Counts only when the caller's transaction commits.

    A second caller with the same id waits (PostgreSQL) until the first one's transaction is over.
    """
    return await insert_once(session, ProcessedEvent, {"event_id": event_id})
