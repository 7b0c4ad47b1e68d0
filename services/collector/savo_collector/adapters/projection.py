"""The part of the collector's database that comes from topics and can be rebuilt from them.

Each confirmed photo's outcome was published, so no photo is checked again. Only a sample whose row is missing is read
from the object store, for its fingerprint.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Table, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from savo_collector.adapters.sample_database import write_consent
from savo_collector.adapters.tables import (
    BandRow,
    Base,
    ConsentRow,
    CountsRow,
    ErasedScanRow,
    ErasedSubjectRow,
    RejectionRow,
    SampleRow,
    SplitRow,
)
from savo_collector.duplicates import bands
from savo_collector.ports import SampleState
from savo_contracts.envelope import named_id
from savo_contracts.samples import PENDING_REASONS, SampleErased, SampleRejected, SampleStored
from savo_contracts.scans import ScanConfirmed, ScanErased
from savo_contracts.topics import (
    CONSENT_CHANGED,
    SAMPLES_ERASED,
    SAMPLES_REJECTED,
    SAMPLES_STORED,
    SCANS_CONFIRMED,
    SCANS_ERASED,
    SUBJECTS_ERASED,
    TRAINING_THRESHOLD_REACHED,
)
from savo_contracts.training import TrainingThresholdReached
from savo_contracts.users import ConsentChanged, SubjectErased
from savo_detection.photos.decoding import decode
from savo_detection.photos.fingerprints import fingerprint_of
from savo_detection.photos.quality import MEASURED_SIDE
from savo_runtime.database import Database, upsert
from savo_runtime.messaging.consuming.subscriptions import bind, consumes
from savo_runtime.projection import Fold, ProjectedTable, Projection
from savo_runtime.service import Runtime
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore

__all__ = ["PROJECTION"]

_UNRESOLVED = ""
"""State of a sample, or reason of a rejection, until an event with its outcome is read."""

_MOST_REVISIONS = 1_000
_NO_FINGERPRINT = "0" * 16


@dataclass(frozen=True)
class Outcomes:
    """Writes the outcomes of confirmed photos into the tables."""

    database: Database
    store: ObjectStore

    async def confirmed(self, confirmed: ScanConfirmed) -> None:
        """Store the confirmation as an unresolved rejection, until its outcome is read."""
        async with self.database.session() as session:
            if confirmed.consent is False:
                await session.execute(delete(RejectionRow).where(RejectionRow.scan_id == confirmed.scan_id))
                return
            if await _is_erased(session, confirmed.scan_id, confirmed.subject):
                return
            row = await session.get(RejectionRow, confirmed.scan_id)
            if row is not None:
                row.confirmed = confirmed.model_dump_json()
                return
            unresolved = {
                "reason": _UNRESOLVED,
                "detail": "",
                "waiting": False,
                "rejected_at": confirmed.confirmed_at,
                "confirmed": confirmed.model_dump_json(),
            }
            await session.execute(
                insert(RejectionRow).values(scan_id=confirmed.scan_id, subject=confirmed.subject, **unresolved)
            )

    async def rejected(self, rejected: SampleRejected) -> None:
        values = {
            "reason": rejected.reason,
            "detail": rejected.detail,
            "waiting": rejected.reason in PENDING_REASONS,
            "rejected_at": rejected.rejected_at,
        }
        async with self.database.session() as session:
            row = await session.get(RejectionRow, rejected.scan_id)
            if await _is_erased(session, rejected.scan_id, rejected.subject) or (
                row and row.reason and row.rejected_at > rejected.rejected_at
            ):
                return
            if row is None:
                await session.execute(
                    insert(RejectionRow).values(
                        scan_id=rejected.scan_id, subject=rejected.subject, confirmed="", **values
                    )
                )
            else:
                await session.execute(
                    update(RejectionRow).where(RejectionRow.scan_id == rejected.scan_id).values(**values)
                )

    async def stored(self, stored: SampleStored) -> None:
        async with self.database.session() as session:
            erased = await _is_erased(session, stored.scan_id, stored.subject)
            row = await session.get(SampleRow, stored.sha256)
            if erased or (row and row.state == SampleState.STORED.value and row.revision > stored.revision):
                return
        missing = await self._photo_values(stored) if row is None else {}
        values = {"state": SampleState.STORED.value, "revision": stored.revision, "stored": stored.model_dump_json()}
        async with self.database.session() as session:
            if row is None:
                missing |= await _confirmation_values(session, stored)
                await session.execute(insert(SampleRow).values(sha256=stored.sha256, **missing, **values))
                if not missing["anonymous"]:
                    await _assign_split(session, stored)
            else:
                await session.execute(update(SampleRow).where(SampleRow.sha256 == stored.sha256).values(**values))
            await session.execute(
                delete(RejectionRow).where(
                    RejectionRow.scan_id == stored.scan_id, RejectionRow.rejected_at <= stored.stored_at
                )
            )

    async def erased(self, erased: SampleErased, event_id: UUID) -> None:
        """Delete an erased scan's sample, or mark a withdrawn sample. The event's id is derived from which it was."""
        own_row = SampleRow.sha256 == erased.sha256
        async with self.database.session() as session:
            row = await session.get(SampleRow, erased.sha256)
            if row is None or row.scan_id != erased.scan_id:
                return
            revision = _withdrawn_by(erased, event_id)
            if revision is None:
                await session.execute(delete(SampleRow).where(own_row))
            else:
                await session.execute(
                    update(SampleRow).where(own_row).values(state=SampleState.WITHDRAWN.value, revision=revision)
                )

    async def scan_erased(self, erased: ScanErased) -> None:
        async with self.database.session() as session:
            await upsert(
                session, ErasedScanRow, {"scan_id": erased.scan_id, "erased_at": erased.erased_at}, ["scan_id"]
            )
            await session.execute(delete(RejectionRow).where(RejectionRow.scan_id == erased.scan_id))

    async def subject_erased(self, erased: SubjectErased) -> None:
        async with self.database.session() as session:
            await upsert(
                session, ErasedSubjectRow, {"subject": erased.subject, "erased_at": erased.erased_at}, ["subject"]
            )
            for table in (RejectionRow, SplitRow, ConsentRow):
                await session.execute(delete(table).where(table.subject == erased.subject))

    async def consent_changed(self, changed: ConsentChanged) -> None:
        async with self.database.session() as session:
            await write_consent(session, changed)

    async def threshold_reached(self, reached: TrainingThresholdReached, event_id: UUID) -> None:
        """Set the number of crossings, from which the event's id is derived."""
        async with self.database.session() as session:
            known = await session.scalar(select(CountsRow.crossings).where(CountsRow.dataset == reached.dataset))
            number = next(
                (
                    n
                    for n in range(1, _MOST_REVISIONS)
                    if named_id(f"training-threshold/{reached.dataset}/{n}") == event_id
                ),
                known or 0,
            )
            await session.execute(
                update(CountsRow).where(CountsRow.dataset == reached.dataset).values(crossings=max(known or 0, number))
            )

    async def finish(self, session: AsyncSession) -> None:
        """Delete rows without an outcome, and compute index and counts from the samples."""
        await session.execute(delete(SampleRow).where(SampleRow.state == _UNRESOLVED))
        await session.execute(
            delete(RejectionRow).where(or_(RejectionRow.reason == _UNRESOLVED, RejectionRow.confirmed == ""))
        )
        await session.execute(delete(BandRow))
        for sha256, dhash in (await session.execute(select(SampleRow.sha256, SampleRow.dhash))).all():
            await session.execute(
                insert(BandRow),
                [{"band": band, "piece": piece, "sha256": sha256} for band, piece in enumerate(bands(dhash))],
            )
        for dataset, crossings in (await session.execute(select(CountsRow.dataset, CountsRow.crossings))).all():
            stored = SampleRow.state == SampleState.STORED.value
            sums = select(
                func.count(),
                func.coalesce(func.sum(SampleRow.bytes), 0),
                func.count().filter(SampleRow.crossing == crossings),
            ).where(stored)
            samples, size, fresh = (await session.execute(sums)).one()
            await session.execute(
                update(CountsRow)
                .where(CountsRow.dataset == dataset)
                .values(samples=samples, bytes=int(size), fresh=fresh)
            )

    async def _photo_values(self, stored: SampleStored) -> dict[str, object]:
        """Columns of a missing row that come from the photo itself."""
        try:
            data = await self.store.get(stored.image.key)
            fingerprint = fingerprint_of(await asyncio.to_thread(decode, data, target_side=MEASURED_SIDE))
            hashes = {"dhash": fingerprint.dhash, "phash": fingerprint.phash}
        except ObjectNotFoundError:
            hashes = {"dhash": _NO_FINGERPRINT, "phash": _NO_FINGERPRINT}
        facts = {
            "split": stored.split.value,
            "media_type": stored.image.media_type,
            "bytes": stored.image.bytes,
            "claimed_at": stored.stored_at,
        }
        return {"scan_id": stored.scan_id, "subject": stored.subject, **facts, **hashes}


async def _confirmation_values(session: AsyncSession, stored: SampleStored) -> dict[str, object]:
    row = await session.get(RejectionRow, stored.scan_id)
    known = ScanConfirmed.model_validate_json(row.confirmed) if row and row.confirmed else None
    crossings = await session.scalar(select(CountsRow.crossings).where(CountsRow.dataset == stored.dataset))
    source, anonymous = (known.image.sha256, known.anonymous) if known else (stored.sha256, False)
    return {"source_sha256": source, "anonymous": anonymous, "crossing": crossings or 0}


async def _assign_split(session: AsyncSession, stored: SampleStored) -> None:
    if await session.get(SplitRow, stored.subject) is None:
        await session.execute(insert(SplitRow).values(subject=stored.subject, split=stored.split.value))


async def _is_erased(session: AsyncSession, scan_id: str, subject: str) -> bool:
    return bool(await session.get(ErasedScanRow, scan_id) or await session.get(ErasedSubjectRow, subject))


def _withdrawn_by(erased: SampleErased, event_id: UUID) -> int | None:
    """The revision of the confirmation that withdrew the sample; None for an erasure."""
    prefix = f"sample-erased/{erased.sha256}/{erased.scan_id}"
    return next(
        (revision for revision in range(1, _MOST_REVISIONS) if named_id(f"{prefix}/revision {revision}") == event_id),
        None,
    )


@consumes(SCANS_CONFIRMED)
async def on_confirmed(confirmed: ScanConfirmed, outcomes: Outcomes) -> None:
    await outcomes.confirmed(confirmed)


@consumes(SAMPLES_REJECTED)
async def on_rejected(rejected: SampleRejected, outcomes: Outcomes) -> None:
    await outcomes.rejected(rejected)


@consumes(SAMPLES_STORED)
async def on_stored(stored: SampleStored, outcomes: Outcomes) -> None:
    await outcomes.stored(stored)


@consumes(SAMPLES_ERASED)
async def on_erased(erased: SampleErased, outcomes: Outcomes, event_id: UUID) -> None:
    await outcomes.erased(erased, event_id)


@consumes(SCANS_ERASED)
async def on_scan_erased(erased: ScanErased, outcomes: Outcomes) -> None:
    await outcomes.scan_erased(erased)


@consumes(SUBJECTS_ERASED)
async def on_subject_erased(erased: SubjectErased, outcomes: Outcomes) -> None:
    await outcomes.subject_erased(erased)


@consumes(CONSENT_CHANGED)
async def on_consent_changed(changed: ConsentChanged, outcomes: Outcomes) -> None:
    await outcomes.consent_changed(changed)


@consumes(TRAINING_THRESHOLD_REACHED)
async def on_threshold_reached(reached: TrainingThresholdReached, outcomes: Outcomes, event_id: UUID) -> None:
    await outcomes.threshold_reached(reached, event_id)


def _fold(_settings: RuntimeSettings, runtime: Runtime) -> Fold:
    outcomes = Outcomes(runtime.database, runtime.store)
    handlers = (
        on_confirmed,
        on_rejected,
        on_stored,
        on_erased,
        on_scan_erased,
        on_subject_erased,
        on_consent_changed,
        on_threshold_reached,
    )
    return Fold([bind(handler, outcomes=outcomes) for handler in handlers], outcomes.finish)


def _table(row: type[Base]) -> Table:
    assert isinstance(row.__table__, Table)
    return row.__table__


_OF_SAMPLES = (SAMPLES_STORED, SAMPLES_ERASED, SCANS_ERASED, SUBJECTS_ERASED)

PROJECTION = Projection(
    tables=(
        ProjectedTable(
            table=_table(ErasedScanRow),
            topics=(SCANS_ERASED,),
            seed={},
            own_columns=("sample_sha256", "media_type", "erased_at"),
        ),
        ProjectedTable(table=_table(ErasedSubjectRow), topics=(SUBJECTS_ERASED,), seed={}),
        ProjectedTable(table=_table(ConsentRow), topics=(CONSENT_CHANGED, SUBJECTS_ERASED)),
        ProjectedTable(
            table=_table(SampleRow),
            topics=_OF_SAMPLES,
            seed={"state": _UNRESOLVED, "stored": None, "revision": 0},
            own_columns=("source_sha256", "anonymous", "dhash", "phash", "claimed_at", "crossing"),
            kept_rows=SampleRow.state == SampleState.CLAIMED.value,
        ),
        ProjectedTable(table=_table(BandRow), topics=_OF_SAMPLES),
        ProjectedTable(table=_table(SplitRow), topics=(SAMPLES_STORED, SUBJECTS_ERASED), seed={}),
        ProjectedTable(table=_table(RejectionRow), topics=(SAMPLES_REJECTED, SAMPLES_STORED, SCANS_CONFIRMED)),
        ProjectedTable(
            table=_table(CountsRow),
            topics=(TRAINING_THRESHOLD_REACHED, SAMPLES_STORED, SAMPLES_ERASED),
            seed={"samples": 0, "bytes": 0, "fresh": 0},
            own_columns=("turns", "counting_since"),
        ),
    ),
    fold=_fold,
    not_rebuilt={
        "samples.dhash": "perceptual hash of the photo: computed again only where the row is missing",
        "samples.claimed_at": "when a scan claimed its bytes",
        "sightings": "labels without a class that people confirmed: they depend on the classes of that time",
        "counts.counting_since": "when the threshold was reached last",
        "outbox": "events that are not published yet",
    },
)
