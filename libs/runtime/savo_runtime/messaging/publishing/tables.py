"""Messaging tables in each service's database: the outbox and the inbox."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import JSON, BigInteger, Integer, String, Text, Uuid, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from savo_runtime.database import UtcDateTime

__all__ = ["OutboxRow", "ProcessedEvent", "RuntimeBase"]


class RuntimeBase(DeclarativeBase):
    """Metadata of the runtime's own tables; its alembic history is `savo_runtime.migrations`."""


class OutboxRow(RuntimeBase):
    """An event to publish: inserted with the change that it describes, deleted when Kafka has acknowledged it."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    """Order of insertion."""
    event_id: Mapped[uuid.UUID] = mapped_column(Uuid, unique=True)
    topic: Mapped[str] = mapped_column(String(255))
    key: Mapped[str] = mapped_column(String(1024))
    headers: Mapped[dict[str, str]] = mapped_column(JSON)
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ProcessedEvent(RuntimeBase):
    """The id of an event whose effect is stored in this database."""

    __tablename__ = "processed_events"

    event_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    processed_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.now(), index=True)
