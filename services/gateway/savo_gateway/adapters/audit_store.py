"""The audit log in SQL, read from `audit.recorded`. Entries are added, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from savo_contracts.audit import AuditRecorded
from savo_gateway.adapters.tables import AuditRow
from savo_runtime.database import Database, insert_once

__all__ = ["SqlAuditLog"]


@dataclass(frozen=True)
class SqlAuditLog:
    """Implements `ports.AuditLog`."""

    database: Database

    async def add(self, entry: AuditRecorded, event_id: UUID) -> bool:
        values = {
            "action": entry.action,
            "about": entry.about,
            "entry": entry.model_dump(mode="json"),
            "recorded_at": entry.recorded_at,
        }
        async with self.database.session() as session:
            return await insert_once(session, AuditRow, {"event_id": event_id, **values})

    async def newest(
        self, limit: int, *, action: str | None = None, about: str | None = None, before: datetime | None = None
    ) -> Sequence[AuditRecorded]:
        query = select(AuditRow.entry).order_by(AuditRow.recorded_at.desc(), AuditRow.event_id).limit(limit)
        if action:
            query = query.where(AuditRow.action == action)
        if about:
            query = query.where(AuditRow.about == about)
        if before:
            query = query.where(AuditRow.recorded_at < before)
        async with self.database.session(read_only=True) as session:
            return [AuditRecorded.model_validate(entry) for entry in await session.scalars(query)]
