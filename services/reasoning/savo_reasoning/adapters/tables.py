"""Reasoning's tables."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from savo_runtime.database import UtcDateTime


class Base(DeclarativeBase):
    pass


class SuggestionRow(Base):
    """A finished answer to a recipe request."""

    __tablename__ = "suggestions"

    recipe_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    scan_id: Mapped[str] = mapped_column(String(64), index=True)
    subject: Mapped[str] = mapped_column(String(64), index=True)
    suggested: Mapped[str] = mapped_column(Text)
    """The `RecipesSuggested` event as JSON."""
    suggested_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ErasedScanRow(Base):
    __tablename__ = "erased_scans"

    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    erased_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ErasedSubjectRow(Base):
    __tablename__ = "erased_subjects"

    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    erased_at: Mapped[datetime] = mapped_column(UtcDateTime)
