"""Writes a sample in three steps, so that a repeat completes what a crash at any line left.

claim    one transaction: the scan owns these bytes, and the sample has its split
write    the objects: image, labels and meta, each written atomically and the same when written again
record   one transaction: the sample, the counts, and `training.threshold-reached` when the threshold is reached
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from savo_collector.duplicates import require_unclaimed
from savo_collector.errors import ErasedError, RejectedError
from savo_collector.labels import count_labels, label_file, rejected_boxes
from savo_collector.ports import Photo, Sample, SampleDatabase, SampleState, SampleStore, Transaction
from savo_collector.splits import choose_split
from savo_collector.thresholds import TrainingPolicy, publish_if_reached, with_new_sample
from savo_contracts.documents import META_VERSION, LabelledBox, SampleMeta
from savo_contracts.envelope import ImageRef, named_id
from savo_contracts.figures import is_edited
from savo_contracts.samples import RejectionReason, SampleStored, Split
from savo_contracts.scans import ScanConfirmed
from savo_detection.photos.fingerprints import Fingerprint
from savo_runtime.telemetry.metrics import SAMPLE_BYTES, SAMPLES, STORAGE_LIMIT, STORAGE_USED

__all__ = ["SampleWriter", "require_not_erased"]

log = structlog.get_logger()

STORED, RELABELLED = SAMPLES.labels("stored", ""), SAMPLES.labels("relabelled", "")
"""Created at the import: the alert on a day without samples needs a 0 rather than a missing series."""


@dataclass(frozen=True)
class SampleWriter:
    """Stores samples, within the storage limit."""

    database: SampleDatabase
    samples: SampleStore
    training: TrainingPolicy
    clock: Callable[[], datetime]
    limit_bytes: int | None = None
    """Of all sample images together; None is no limit."""
    publish_events: bool = False
    """True: the event is published by the transaction that records the sample. False: a handler returns the event."""

    async def claim(self, confirmed: ScanConfirmed, photo: Photo, fingerprint: Fingerprint) -> Sample:
        """The scan's sample, new or claimed before. Of two scans of the same bytes, one gets the sample.

        Raises `RejectedError` (duplicate, split-conflict, storage-full) and `ErasedError`.
        """
        # The object store has owner and split even where a replay in another order rebuilt the database.
        known = await self.samples.meta(photo.sha256)
        require_unclaimed(confirmed.scan_id, known.scan_id if known else None)
        async with self.database.transaction() as transaction:
            await require_not_erased(transaction, confirmed)
            owner = await transaction.sample_of_photo(photo.sha256, confirmed.image.sha256)
            require_unclaimed(confirmed.scan_id, owner.scan_id if owner else None)
            await self._require_space(transaction, photo)
            if owner:
                require_split(confirmed, owner.split)
                return owner
            split = await _split(transaction, confirmed, fingerprint, known)
            sample = _claimed(confirmed, photo, fingerprint, split, self.clock())
            await transaction.add(sample)
            return sample

    async def write(
        self, confirmed: ScanConfirmed, sample: Sample, image: ImageRef, boxes: tuple[LabelledBox, ...]
    ) -> SampleStored:
        """Write labels and meta beside the image; the event to record. Raises `StorageFullError`."""
        now = self.clock()
        await self.samples.put_labels(sample.sha256, label_file(boxes))
        await self.samples.put_meta(_meta(confirmed, sample, image, boxes, now))
        return _stored(confirmed, sample, image, boxes, now)

    async def record(self, sample: Sample, event: SampleStored) -> SampleStored:
        """Record the sample; the event to publish. Raises `ErasedError`.

        That is the recorded event where this confirmation, or a later one, was recorded before.
        """
        async with self.database.transaction() as transaction:
            if cause := await transaction.erasure_cause(event.scan_id, event.subject):
                raise ErasedError(event.scan_id, cause)
            known = await transaction.sample_of_scan(event.scan_id)
            is_new = known is None or known.state is not SampleState.STORED
            if known and known.stored and not is_new and known.stored.revision >= event.revision:
                return known.stored
            crossing = await self._count(transaction, sample) if is_new else sample.crossing
            await transaction.save(
                replace(sample, state=SampleState.STORED, crossing=crossing, revision=event.revision, stored=event)
            )
            await transaction.delete_rejection(event.scan_id)
            await publish_if_reached(transaction, self.training, self.clock())
            if self.publish_events:
                await transaction.publish(event, named_id(f"sample-stored/{event.sha256}/{event.revision}"))
        (STORED if is_new else RELABELLED).inc()
        SAMPLE_BYTES.inc(sample.bytes if is_new else 0)
        boxes = sum(event.labels.values())
        log.info("sample.stored", scan_id=event.scan_id, sha256=event.sha256, split=event.split.value, boxes=boxes)
        return event

    async def update_storage_gauges(self) -> None:
        """Bytes used and allowed, for the alert on a full store."""
        async with self.database.read_transaction() as transaction:
            STORAGE_USED.labels("samples").set((await transaction.counts()).bytes)
        if self.limit_bytes is not None:
            STORAGE_LIMIT.labels("samples").set(self.limit_bytes)

    async def _count(self, transaction: Transaction, sample: Sample) -> int:
        counts = await transaction.counts()
        await transaction.set_counts(with_new_sample(counts, sample.bytes, self.clock()))
        return counts.threshold_count

    async def _require_space(self, transaction: Transaction, photo: Photo) -> None:
        if self.limit_bytes is None:
            return
        taken = (await transaction.counts()).bytes + await transaction.claimed_bytes(except_for=photo.sha256)
        if taken + len(photo.data) > self.limit_bytes:
            figures = f"{taken / 1e9:.3f} GB of {self.limit_bytes / 1e9:.3f} GB are used"
            needed = f"the photo needs {len(photo.data) / 1e6:.2f} MB more; SAVO_STORAGE_LIMIT_GB is the limit"
            raise RejectedError(RejectionReason.STORAGE_FULL, f"{figures}, {needed}")


async def require_not_erased(transaction: Transaction, confirmed: ScanConfirmed) -> None:
    """Raises `ErasedError`."""
    if cause := await transaction.erasure_cause(confirmed.scan_id, confirmed.subject):
        raise ErasedError(confirmed.scan_id, cause)


def require_split(confirmed: ScanConfirmed, split: Split) -> None:
    """Raises `RejectedError(split-conflict)` when the confirmation allows train only and `split` is another."""
    choose_split(confirmed.subject, [split], train_only=_train_only(confirmed))


async def _split(
    transaction: Transaction, confirmed: ScanConfirmed, fingerprint: Fingerprint, known: SampleMeta | None
) -> Split:
    own = None if confirmed.anonymous else await transaction.assigned_split(confirmed.subject)
    given = [known.split] if known else await _related_splits(transaction, fingerprint, own)
    split = choose_split(confirmed.subject, given, train_only=_train_only(confirmed))
    if own is None and not confirmed.anonymous:
        await transaction.assign_split(confirmed.subject, split)
    return split


async def _related_splits(transaction: Transaction, fingerprint: Fingerprint, own: Split | None) -> list[Split]:
    splits = [sample.split for sample in await transaction.near_duplicates(fingerprint)]
    return [*splits, own] if own else splits


def _train_only(confirmed: ScanConfirmed) -> bool:
    return confirmed.anonymous or not confirmed.nothing_missing


def _claimed(confirmed: ScanConfirmed, photo: Photo, fingerprint: Fingerprint, split: Split, now: datetime) -> Sample:
    return Sample(
        sha256=photo.sha256,
        source_sha256=confirmed.image.sha256,
        scan_id=confirmed.scan_id,
        subject=confirmed.subject,
        anonymous=confirmed.anonymous,
        split=split,
        media_type=photo.media_type,
        bytes=len(photo.data),
        fingerprint=fingerprint,
        claimed_at=now,
    )


def _meta(
    confirmed: ScanConfirmed, sample: Sample, image: ImageRef, boxes: tuple[LabelledBox, ...], now: datetime
) -> SampleMeta:
    return SampleMeta(
        schema_version=META_VERSION,
        sha256=sample.sha256,
        scan_id=sample.scan_id,
        subject=sample.subject,
        anonymous=sample.anonymous,
        split=sample.split,
        media_type=sample.media_type,
        width=image.width,
        height=image.height,
        boxes=boxes,
        rejected=rejected_boxes(confirmed.items, confirmed.served_by),
        exhaustive=confirmed.nothing_missing,
        served_by=confirmed.served_by,
        model_version=confirmed.model_version,
        storage_location=confirmed.storage_location,
        perceptual_hash=sample.fingerprint.dhash,
        revision=confirmed.revision,
        stored_at=now,
    )


def _stored(
    confirmed: ScanConfirmed, sample: Sample, image: ImageRef, boxes: tuple[LabelledBox, ...], now: datetime
) -> SampleStored:
    return SampleStored(
        sha256=sample.sha256,
        scan_id=sample.scan_id,
        subject=sample.subject,
        image=image,
        split=sample.split,
        labels=count_labels(boxes),
        edited=is_edited(confirmed.items),
        revision=confirmed.revision,
        stored_at=now,
    )
