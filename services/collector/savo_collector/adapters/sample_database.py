"""The collector's database on SQLAlchemy: samples, splits, rejections, counts and the list of erasures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, delete, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from savo_collector.adapters.tables import (
    BandRow,
    ConsentRow,
    CountsRow,
    ErasedScanRow,
    ErasedSubjectRow,
    RejectionRow,
    SampleRow,
    SplitRow,
    UnknownLabelRow,
)
from savo_collector.duplicates import bands
from savo_collector.errors import ErasureCause
from savo_collector.ports import Counts, Rejection, Sample, SampleState, UnknownLabelCounts
from savo_contracts.envelope import Event
from savo_contracts.samples import RejectionReason, SampleStored, Split
from savo_contracts.scans import ScanConfirmed
from savo_contracts.users import ConsentChanged
from savo_detection.photos.fingerprints import Fingerprint, is_near_duplicate
from savo_runtime.database import Database, upsert
from savo_runtime.messaging.publishing.outbox import Outbox

__all__ = ["SqlSampleDatabase", "write_consent"]

_DATASET = "ingredients"


@dataclass(frozen=True)
class SqlSampleDatabase:
    """Implements `SampleDatabase`."""

    database: Database
    outbox: Outbox

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[DatabaseTransaction]:
        async with self.database.session() as session:
            # This update locks the row, so that transactions of all replicas run one after another.
            await session.execute(
                update(CountsRow).where(CountsRow.dataset == _DATASET).values(turns=CountsRow.turns + 1)
            )
            yield DatabaseTransaction(session, self.outbox)

    @asynccontextmanager
    async def read_transaction(self) -> AsyncIterator[DatabaseTransaction]:
        async with self.database.session(read_only=True) as session:
            yield DatabaseTransaction(session, self.outbox)


@dataclass(frozen=True)
class DatabaseTransaction:
    """Implements `Transaction`."""

    session: AsyncSession
    outbox: Outbox

    async def erasure_cause(self, scan_id: str, subject: str) -> ErasureCause | None:
        scan = select(literal(ErasureCause.SCAN.value)).where(ErasedScanRow.scan_id == scan_id)
        of_subject = select(literal(ErasureCause.SUBJECT.value)).where(ErasedSubjectRow.subject == subject)
        cause = await self.session.scalar(scan.union_all(of_subject))
        return ErasureCause(cause) if cause else None

    async def record_erased(self, *, scan_id: str | None = None, subject: str | None = None, at: datetime) -> None:
        if scan_id:
            await upsert(self.session, ErasedScanRow, {"scan_id": scan_id, "erased_at": at}, ["scan_id"])
        if subject:
            await upsert(self.session, ErasedSubjectRow, {"subject": subject, "erased_at": at}, ["subject"])

    async def record_erased_sample(self, sample: Sample, at: datetime) -> None:
        values = {
            "scan_id": sample.scan_id,
            "sample_sha256": sample.sha256,
            "media_type": sample.media_type,
            "erased_at": at,
        }
        await upsert(self.session, ErasedScanRow, values, ["scan_id"])

    async def erased_objects(self, scan_id: str) -> tuple[str, str] | None:
        row = await self.session.get(ErasedScanRow, scan_id)
        if (
            row is None
            or row.sample_sha256 is None
            or row.media_type is None
            or await self.sample_of_photo(row.sample_sha256)
        ):
            return None
        return row.sample_sha256, row.media_type

    async def sample_of_photo(self, *sha256: str) -> Sample | None:
        found = await self._samples(
            select(SampleRow).where(or_(SampleRow.source_sha256.in_(sha256), SampleRow.sha256.in_(sha256)))
        )
        return found[0] if found else None

    async def sample_of_scan(self, scan_id: str) -> Sample | None:
        found = await self._samples(select(SampleRow).where(SampleRow.scan_id == scan_id))
        return found[0] if found else None

    async def samples_of_subject(self, subject: str) -> Sequence[Sample]:
        return await self._samples(select(SampleRow).where(SampleRow.subject == subject))

    async def near_duplicates(self, fingerprint: Fingerprint) -> Sequence[Sample]:
        same_piece = or_(
            *(and_(BandRow.band == band, BandRow.piece == piece) for band, piece in enumerate(bands(fingerprint.dhash)))
        )
        candidates = await self._samples(
            select(SampleRow).where(SampleRow.sha256.in_(select(BandRow.sha256).where(same_piece)))
        )
        return [sample for sample in candidates if is_near_duplicate(sample.fingerprint, fingerprint)]

    async def add(self, sample: Sample) -> None:
        await self.session.execute(insert(SampleRow).values(_row(sample)))
        pieces = [
            {"band": band, "piece": piece, "sha256": sample.sha256}
            for band, piece in enumerate(bands(sample.fingerprint.dhash))
        ]
        await self.session.execute(insert(BandRow).values(pieces))

    async def save(self, sample: Sample) -> None:
        changing = {
            name: value for name, value in _row(sample).items() if name in ("state", "crossing", "revision", "stored")
        }
        await self.session.execute(update(SampleRow).where(SampleRow.sha256 == sample.sha256).values(changing))

    async def delete(self, sample: Sample) -> None:
        await self.session.execute(delete(BandRow).where(BandRow.sha256 == sample.sha256))
        await self.session.execute(delete(SampleRow).where(SampleRow.sha256 == sample.sha256))

    async def assigned_split(self, subject: str) -> Split | None:
        row = await self.session.get(SplitRow, subject)
        return Split(row.split) if row else None

    async def assign_split(self, subject: str, split: Split) -> None:
        await self.session.execute(insert(SplitRow).values(subject=subject, split=split.value))

    async def claimed_bytes(self, *, except_for: str) -> int:
        claimed = select(func.coalesce(func.sum(SampleRow.bytes), 0)).where(
            SampleRow.state == SampleState.CLAIMED.value, SampleRow.sha256 != except_for
        )
        return int(await self.session.scalar(claimed) or 0)

    async def counts(self) -> Counts:
        row = (
            (await self.session.execute(select(CountsRow.__table__).where(CountsRow.dataset == _DATASET)))
            .mappings()
            .one()
        )
        return Counts(
            dataset=row["dataset"],
            samples=row["samples"],
            bytes=row["bytes"],
            new_samples=row["fresh"],
            threshold_count=row["crossings"],
            counting_since=row["counting_since"],
        )

    async def set_counts(self, counts: Counts) -> None:
        await self.session.execute(
            update(CountsRow)
            .where(CountsRow.dataset == counts.dataset)
            .values(
                samples=counts.samples,
                bytes=counts.bytes,
                fresh=counts.new_samples,
                crossings=counts.threshold_count,
                counting_since=counts.counting_since,
            )
        )

    async def rejection_of(self, scan_id: str) -> Rejection | None:
        row = await self.session.get(RejectionRow, scan_id)
        return _rejection(row) if row else None

    async def record_rejection(self, rejection: Rejection) -> None:
        values = {
            "scan_id": rejection.confirmed.scan_id,
            "subject": rejection.confirmed.subject,
            "reason": rejection.reason,
            "detail": rejection.detail,
            "waiting": rejection.pending,
            "rejected_at": rejection.rejected_at,
            "confirmed": rejection.confirmed.model_dump_json(),
        }
        await upsert(self.session, RejectionRow, values, ["scan_id"])

    async def pending_rejections(self, reason: RejectionReason) -> Sequence[Rejection]:
        rows = await self.session.scalars(
            select(RejectionRow)
            .where(RejectionRow.waiting, RejectionRow.reason == reason.value)
            .order_by(RejectionRow.rejected_at)
        )
        return [_rejection(row) for row in rows]

    async def pending_scans_of_labels(self, labels: Sequence[str]) -> Sequence[str]:
        found = await self.session.scalars(
            select(RejectionRow.scan_id)
            .join(UnknownLabelRow, UnknownLabelRow.scan_id == RejectionRow.scan_id)
            .where(
                UnknownLabelRow.label.in_(labels),
                RejectionRow.waiting,
                RejectionRow.reason == RejectionReason.NEEDS_CLASS.value,
            )
            .distinct()
        )
        return list(found)

    async def delete_rejection(self, scan_id: str) -> None:
        await self.session.execute(delete(RejectionRow).where(RejectionRow.scan_id == scan_id))

    async def delete_scan(self, scan_id: str) -> None:
        for table in (RejectionRow, UnknownLabelRow):
            await self.session.execute(delete(table).where(table.scan_id == scan_id))

    async def record_unknown_label(self, label: str, scan_id: str, subject: str | None) -> UnknownLabelCounts:
        await upsert(
            self.session,
            UnknownLabelRow,
            {"label": label, "scan_id": scan_id, "subject": subject},
            ["label", "scan_id"],
        )
        counted = select(func.count(UnknownLabelRow.subject.distinct()), func.count()).where(
            UnknownLabelRow.label == label
        )
        users, samples = (await self.session.execute(counted)).one()
        return UnknownLabelCounts(users, samples)

    async def delete_subject(self, subject: str) -> None:
        for table in (RejectionRow, UnknownLabelRow, SplitRow, ConsentRow):
            await self.session.execute(delete(table).where(table.subject == subject))

    async def record_consent(self, changed: ConsentChanged) -> None:
        await write_consent(self.session, changed)

    async def has_withdrawn_consent(self, subject: str) -> bool:
        row = await self.session.get(ConsentRow, subject)
        return row is not None and not row.given

    async def publish(self, event: Event, event_id: UUID) -> None:
        await self.outbox.add(self.session, event, event_id=event_id)

    async def _samples(self, query: object) -> list[Sample]:
        rows = await self.session.scalars(query.execution_options(populate_existing=True))  # type: ignore[attr-defined]
        return [_sample(row) for row in rows]


async def write_consent(session: AsyncSession, changed: ConsentChanged) -> None:
    """Keep the newest consent of a subject. That of an erased subject is not stored again."""
    known = await session.get(ConsentRow, changed.subject)
    erased = await session.get(ErasedSubjectRow, changed.subject)
    if not erased and (known is None or known.changed_at <= changed.changed_at):
        await upsert(session, ConsentRow, changed.model_dump(), ["subject"])


def _sample(row: SampleRow) -> Sample:
    return Sample(
        sha256=row.sha256,
        source_sha256=row.source_sha256,
        scan_id=row.scan_id,
        subject=row.subject,
        anonymous=row.anonymous,
        split=Split(row.split),
        media_type=row.media_type,
        bytes=row.bytes,
        fingerprint=Fingerprint(row.dhash, row.phash),
        claimed_at=row.claimed_at,
        state=SampleState(row.state),
        crossing=row.crossing,
        revision=row.revision,
        stored=SampleStored.model_validate_json(row.stored) if row.stored else None,
    )


def _row(sample: Sample) -> dict[str, object]:
    return {
        "sha256": sample.sha256,
        "source_sha256": sample.source_sha256,
        "scan_id": sample.scan_id,
        "subject": sample.subject,
        "anonymous": sample.anonymous,
        "split": sample.split.value,
        "media_type": sample.media_type,
        "bytes": sample.bytes,
        "dhash": sample.fingerprint.dhash,
        "phash": sample.fingerprint.phash,
        "claimed_at": sample.claimed_at,
        "state": sample.state.value,
        "crossing": sample.crossing,
        "revision": sample.revision,
        "stored": sample.stored.model_dump_json() if sample.stored else None,
    }


def _rejection(row: RejectionRow) -> Rejection:
    return Rejection(
        ScanConfirmed.model_validate_json(row.confirmed), row.reason, row.detail, row.rejected_at, row.waiting
    )
