"""Tables of the rollout: state, history, registered models, and the arms' evidence."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Boolean, Float, Index, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from savo_runtime.database import UtcDateTime


class Base(DeclarativeBase):
    """Tables of the rollout service."""


class TrialRow(Base):
    """The present state, in a single row."""

    __tablename__ = "trial"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(
        Integer,
        comment="Counts every write; guards against two replicas deciding at once.",
    )
    sequence: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(20))
    share: Mapped[float] = mapped_column(Float)
    reason: Mapped[str] = mapped_column(String(1000))
    changed_by: Mapped[str] = mapped_column(String(120))
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    step: Mapped[int] = mapped_column(Integer)
    step_started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    candidate: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    champion: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    queued: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    former: Mapped[list[dict[str, Any]]] = mapped_column(
        JSON,
        comment="Champions before the present one, the last of them last.",
    )
    pin: Mapped[dict[str, Any] | None] = mapped_column(JSON, comment="The operator's model by its path.")


class HistoryRow(Base):
    """The rollout history, append-only. The product's audit log is the topic `audit.recorded`."""

    __tablename__ = "history"

    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    by: Mapped[str] = mapped_column(String(120))
    state: Mapped[str] = mapped_column(String(20))
    share: Mapped[float] = mapped_column(Float)
    experiment: Mapped[str | None] = mapped_column(String(60))
    champion: Mapped[str | None] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(String(1000))


class ModelRow(Base):
    """Models that were registered, so that a repeated event starts no second trial."""

    __tablename__ = "models"

    version: Mapped[str] = mapped_column(String(20), primary_key=True)
    model: Mapped[dict[str, Any]] = mapped_column(JSON)


class ScanRow(Base):
    """One scan of an experiment. Its completion and its confirmation may arrive in either order."""

    __tablename__ = "scans"
    __table_args__ = (Index("scans_by_experiment", "experiment", "arm"), Index("scans_by_subject", "subject"))

    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64))
    experiment: Mapped[str] = mapped_column(String(60))
    arm: Mapped[str] = mapped_column(String(20))
    step: Mapped[int] = mapped_column(Integer, comment="Step of the experiment when it was first heard of.")
    ended: Mapped[bool] = mapped_column(Boolean, default=False)
    failed: Mapped[bool] = mapped_column(Boolean, default=False)
    latency_ms: Mapped[float | None] = mapped_column(Float)
    cost_usd: Mapped[float] = mapped_column(Float, default=0.0)
    by_candidate: Mapped[bool] = mapped_column(Boolean, default=False)
    revision: Mapped[int] = mapped_column(Integer, default=0, comment="0: not confirmed yet.")
    kept: Mapped[int] = mapped_column(Integer, default=0)
    counted: Mapped[int] = mapped_column(Integer, default=0)
    edited: Mapped[bool] = mapped_column(Boolean, default=False)


class ValueRow(Base):
    """A subject's value of a measure in one step of an experiment: that of its first scan in the step."""

    __tablename__ = "subject_values"
    __table_args__ = (Index("values_by_scan", "scan_id"), Index("values_by_subject", "subject"))

    experiment: Mapped[str] = mapped_column(String(60), primary_key=True)
    arm: Mapped[str] = mapped_column(String(20), primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    measure: Mapped[str] = mapped_column(String(20), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    scan_id: Mapped[str] = mapped_column(String(64))
    value: Mapped[float] = mapped_column(Float)
    first: Mapped[bool] = mapped_column(
        Boolean,
        comment="The subject's first value of this measure in the whole experiment.",
    )


class ErasedRow(Base):
    """Erased scans and subjects, which a replay must not bring back."""

    __tablename__ = "erased"

    kind: Mapped[str] = mapped_column(String(10), primary_key=True)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
