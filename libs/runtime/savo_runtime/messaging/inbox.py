"""Dedupe by event id: a repeated record changes nothing."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from savo_runtime.messaging.tables import ProcessedEvent, RuntimeBase

__all__ = ["first_time", "insert_once"]


async def first_time(session: AsyncSession, event_id: UUID) -> bool:
    """Whether this event's effect is not in the database yet. Counts only when the caller's transaction commits.

    A second caller with the same id waits (PostgreSQL) until the first one's transaction is over.
    """
    return await insert_once(session, ProcessedEvent, {"event_id": event_id})


async def insert_once(session: AsyncSession, table: type[RuntimeBase], values: dict[str, Any]) -> bool:
    """Insert unless a unique key stands against it; whether a row was added."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    result = await session.execute(insert(table).values(**values).on_conflict_do_nothing())
    return isinstance(result, CursorResult) and result.rowcount == 1
