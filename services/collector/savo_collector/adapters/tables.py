"""Tables of the collector's database."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from savo_runtime.database import UtcDateTime


class Base(DeclarativeBase):
    pass


class SampleRow(Base):
    """A photo that is, or was, a training sample."""

    __tablename__ = "samples"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    source_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    scan_id: Mapped[str] = mapped_column(String(64), unique=True)
    subject: Mapped[str] = mapped_column(String(64), index=True)
    anonymous: Mapped[bool] = mapped_column(Boolean)
    split: Mapped[str] = mapped_column(String(8))
    media_type: Mapped[str] = mapped_column(String(40))
    bytes: Mapped[int] = mapped_column(BigInteger)
    dhash: Mapped[str] = mapped_column(String(16))
    phash: Mapped[str] = mapped_column(String(16))
    claimed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    state: Mapped[str] = mapped_column(String(16), index=True)
    crossing: Mapped[int] = mapped_column(Integer)
    revision: Mapped[int] = mapped_column(Integer)
    stored: Mapped[str | None] = mapped_column(Text)
    """The newest `SampleStored`, as JSON."""


class BandRow(Base):
    """A piece of a sample's dhash: the index that near-duplicates are found by."""

    __tablename__ = "fingerprint_bands"

    band: Mapped[int] = mapped_column(Integer, primary_key=True)
    piece: Mapped[int] = mapped_column(Integer, primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)


class SplitRow(Base):
    """The split of a subject's samples. It never changes."""

    __tablename__ = "subject_splits"

    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    split: Mapped[str] = mapped_column(String(8))


class RejectionRow(Base):
    """The newest rejection of a scan."""

    __tablename__ = "refusals"

    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64), index=True)
    reason: Mapped[str] = mapped_column(String(32), index=True)
    detail: Mapped[str] = mapped_column(Text)
    waiting: Mapped[bool] = mapped_column(Boolean)
    """True: the photo may still become a sample."""
    rejected_at: Mapped[datetime] = mapped_column(UtcDateTime)
    confirmed: Mapped[str] = mapped_column(Text)
    """The `ScanConfirmed`, as JSON, from which the photo is collected later."""


class UnknownLabelRow(Base):
    """A label without a class, confirmed in a scan."""

    __tablename__ = "sightings"

    label: Mapped[str] = mapped_column(String(80), primary_key=True)
    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str | None] = mapped_column(String(64), index=True)
    """None for an anonymous scan."""


class CountsRow(Base):
    """Totals of a data set. Each transaction locks the row first, so that replicas write one after another."""

    __tablename__ = "counts"

    dataset: Mapped[str] = mapped_column(String(40), primary_key=True)
    turns: Mapped[int] = mapped_column(BigInteger)
    """Number of transactions: the column that each of them updates to lock the row."""
    samples: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    fresh: Mapped[int] = mapped_column(BigInteger)
    crossings: Mapped[int] = mapped_column(Integer)
    counting_since: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ErasedScanRow(Base):
    """An erased scan, with the hash of its sample where it had one."""

    __tablename__ = "erased_scans"

    scan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    sample_sha256: Mapped[str | None] = mapped_column(String(64))
    media_type: Mapped[str | None] = mapped_column(String(40))
    erased_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ErasedSubjectRow(Base):
    """An erased subject: none of its photos is stored again."""

    __tablename__ = "erased_subjects"

    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    erased_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ConsentRow(Base):
    """A person's newest consent to training, or its withdrawal."""

    __tablename__ = "consents"

    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    given: Mapped[bool] = mapped_column(Boolean)
    text_version: Mapped[str | None] = mapped_column(String(40))
    retention_days: Mapped[int | None] = mapped_column(Integer)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
