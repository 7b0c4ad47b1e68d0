"""Feedback of the app's users, in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import exists, select

from savo_gateway.adapters.tables import FeedbackRow
from savo_gateway.scans.records import Scan
from savo_runtime.database import Database, insert_once

__all__ = ["SqlFeedback"]


@dataclass(frozen=True)
class SqlFeedback:
    """Implements `ports.FeedbackStore`."""

    database: Database

    async def add_feedback(self, scan: Scan, kind: str, content: Mapping[str, Any], now: datetime) -> None:
        values = {
            "feedback_id": uuid4().hex,
            "scan_id": scan.scan_id,
            "subject": scan.subject,
            "kind": kind,
            "content": dict(content),
            "created_at": now,
        }
        async with self.database.session() as session:
            await insert_once(session, FeedbackRow, values)

    async def reports_missing(self, scan_id: str) -> bool:
        found = exists().where(FeedbackRow.scan_id == scan_id, FeedbackRow.kind == "missing")
        async with self.database.session(read_only=True) as session:
            return bool(await session.scalar(select(found)))
