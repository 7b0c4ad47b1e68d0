"""Tables of the trainer. `migrations/` creates them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Index, Integer, String, Text, Uuid
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from savo_runtime.database import UtcDateTime

__all__ = [
    "Base",
    "ErasedSampleRow",
    "FrozenLabelsRow",
    "LeaseRow",
    "NumberRow",
    "RunRow",
    "SampleRow",
    "TransitionRow",
]


class Base(DeclarativeBase):
    pass


class SampleRow(Base):
    """A sample, as the newest event describes it."""

    __tablename__ = "samples"
    __table_args__ = (Index("ix_samples_dataset_sha256", "dataset", "sha256"),)

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    dataset: Mapped[str] = mapped_column(String(64))
    split: Mapped[str] = mapped_column(String(8))
    subject: Mapped[str] = mapped_column(String(64))
    image_key: Mapped[str] = mapped_column(String(1024))
    labels_key: Mapped[str] = mapped_column(String(1024))
    revision: Mapped[int] = mapped_column(Integer)
    labels: Mapped[dict[str, int]] = mapped_column(JSON)
    stored_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ErasedSampleRow(Base):
    """Erased samples, which a replay must not restore."""

    __tablename__ = "erased_samples"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    erased_at: Mapped[datetime] = mapped_column(UtcDateTime)


class FrozenLabelsRow(Base):
    """A label file that data set versions keep, and a sample that has it.

    Also one row for each version whose pairs are all here: the sha256 of its manifest, and its name. A database that
    loses the pairs loses these rows with them.
    """

    __tablename__ = "frozen_labels"
    __table_args__ = (Index("ix_frozen_labels_sha256", "sha256"),)

    labels_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)


class RunRow(Base):
    __tablename__ = "runs"
    __table_args__ = (Index("ix_runs_state", "state"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    event_id: Mapped[UUID] = mapped_column(Uuid, unique=True)
    dataset: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    trigger: Mapped[dict[str, Any]] = mapped_column(JSON)
    attempts: Mapped[int] = mapped_column(Integer)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    reasons: Mapped[list[str]] = mapped_column(JSON)
    next_steps: Mapped[list[str]] = mapped_column(JSON)
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class TransitionRow(Base):
    """One transition of one run."""

    __tablename__ = "run_transitions"
    __table_args__ = (Index("ix_run_transitions_run_id", "run_id"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(String(64))
    before: Mapped[str | None] = mapped_column(String(16))
    after: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    detail: Mapped[str] = mapped_column(Text)


class NumberRow(Base):
    """One number of a series, assigned to one run."""

    __tablename__ = "numbers"
    __table_args__ = (Index("ix_numbers_run", "series", "run_id"),)

    series: Mapped[str] = mapped_column(String(16), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    run_id: Mapped[str] = mapped_column(String(64))


class LeaseRow(Base):
    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(128))
    until: Mapped[datetime] = mapped_column(UtcDateTime)
