"""Tables of the vision service."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Float, Index, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from savo_runtime.database import UtcDateTime


class Base(DeclarativeBase):
    """Tables of the vision service."""


class ResultRow(Base):
    """A finished scan, as its published event."""

    __tablename__ = "results"

    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64), index=True)
    event_type: Mapped[str] = mapped_column(String(80))
    event: Mapped[str] = mapped_column(Text)
    finished_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class RawAnswerRow(Base):
    """A provider's answer to a scan, verbatim. It is deleted with the scan's result."""

    __tablename__ = "raw_answers"

    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64), index=True)
    provider: Mapped[str] = mapped_column(String(40))
    model: Mapped[str] = mapped_column(String(120))
    prompt: Mapped[str] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Text)
    answered_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class ErasedRow(Base):
    """Erased scans and subjects, which are never processed again. `kind` is scan or subject."""

    __tablename__ = "erased"

    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    value: Mapped[str] = mapped_column(String(64), primary_key=True)
    erased_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SpendingRow(Base):
    """Money spent on one scan with one provider. It identifies no subject, so an erasure keeps it."""

    __tablename__ = "spending"
    __table_args__ = (Index("ix_spending_provider_spent_at", "provider", "spent_at"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    provider: Mapped[str] = mapped_column(String(40))
    usd: Mapped[float] = mapped_column(Float)
    spent_at: Mapped[datetime] = mapped_column(UtcDateTime)
