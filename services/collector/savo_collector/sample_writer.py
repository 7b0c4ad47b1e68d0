"""How a photo becomes a sample, so that a crash at any line leaves a state that a repeat completes.

claim    one transaction: these bytes belong to this scan, and stand in this split, from now on
write    image, labels, meta: each whole or not at all, each the same when written again
record   one transaction: the sample, the counts, and the call for training when the sample completes the number
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from savo_collector.duplicates import Fingerprint, require_unclaimed
from savo_collector.errors import ErasedError, RefusedError
from savo_collector.labels import count_labels, label_file
from savo_collector.ports import Ledger, Photo, Sample, SampleState, SampleStore, Transaction
from savo_collector.splits import choose_split
from savo_collector.thresholds import TrainingPolicy, publish_if_reached, with_new_sample
from savo_contracts.documents import LabelledBox, SampleMeta
from savo_contracts.envelope import ImageRef, named_id
from savo_contracts.figures import is_edited
from savo_contracts.samples import RejectionReason, SampleStored, Split
from savo_contracts.scans import ScanConfirmed
from savo_runtime.telemetry.metrics import SAMPLE_BYTES, SAMPLES, STORAGE_LIMIT, STORAGE_USED

__all__ = ["SampleWriter", "require_not_erased"]

STORED, RELABELLED = SAMPLES.labels("stored", ""), SAMPLES.labels("relabelled", "")
"""There from the start: the alert on a day without samples must see a 0, not nothing."""


@dataclass(frozen=True)
class SampleWriter:
    ledger: Ledger
    samples: SampleStore
    training: TrainingPolicy
    clock: Callable[[], datetime]
    limit_bytes: int | None = None
    """Most that all sample images together may take."""
    publish_events: bool = False
    """True where no handler returns the event: it is then published with the transaction that records the sample."""

    async def claim(self, confirmed: ScanConfirmed, photo: Photo, look: Fingerprint) -> Sample:
        """Raises `RefusedError` (duplicate, split-conflict, storage-full) and `ErasedError`. Of two scans of the same bytes one gets them."""
        # Owner and split are for ever, also when this database is built anew from a replay that comes in another order: the store remembers them.
        known = await self.samples.meta(photo.sha256)
        require_unclaimed(confirmed.scan_id, known.scan_id if known else None)
        async with self.ledger.transaction() as transaction:
            await require_not_erased(transaction, confirmed)
            owner = await transaction.sample_of_photo(photo.sha256, confirmed.image.sha256)
            require_unclaimed(confirmed.scan_id, owner.scan_id if owner else None)
            await self._require_space(transaction, photo)
            if owner:
                require_split(confirmed, owner.split)
                return owner
            sample = _claimed(confirmed, photo, look, await _split(transaction, confirmed, look, known), self.clock())
            await transaction.add(sample)
            return sample

    async def write(
        self, confirmed: ScanConfirmed, sample: Sample, image: ImageRef, boxes: tuple[LabelledBox, ...]
    ) -> SampleStored:
        """Labels and meta beside the image. Raises `StorageFullError`."""
        now = self.clock()
        await self.samples.put_labels(sample.sha256, label_file(boxes))
        await self.samples.put_meta(_meta(confirmed, sample, image, boxes, now))
        return _stored(confirmed, sample, image, boxes, now)

    async def record(self, sample: Sample, event: SampleStored) -> SampleStored:
        """The event that counts: an earlier one when this confirmation, or a later one, was recorded before. Raises `ErasedError`."""
        async with self.ledger.transaction() as transaction:
            if await transaction.is_erased(event.scan_id, event.subject):
                raise ErasedError(event.scan_id)
            standing = await transaction.sample_of_scan(event.scan_id)
            if (
                standing
                and standing.stored
                and standing.state is SampleState.STORED
                and standing.stored.revision >= event.revision
            ):
                return standing.stored
            is_new = standing is None or standing.state is not SampleState.STORED
            crossing = await self._count(transaction, sample) if is_new else sample.crossing
            await transaction.save(
                replace(sample, state=SampleState.STORED, crossing=crossing, revision=event.revision, stored=event)
            )
            await transaction.delete_refusal(event.scan_id)
            await publish_if_reached(transaction, self.training, self.clock())
            if self.publish_events:
                await transaction.publish(event, named_id(f"sample-stored/{event.sha256}/{event.revision}"))
        (STORED if is_new else RELABELLED).inc()
        SAMPLE_BYTES.inc(sample.bytes if is_new else 0)
        return event

    async def update_storage_gauges(self) -> None:
        """How full the store is, for the alert."""
        async with self.ledger.read_transaction() as transaction:
            STORAGE_USED.labels("samples").set((await transaction.counts()).bytes)
        if self.limit_bytes is not None:
            STORAGE_LIMIT.labels("samples").set(self.limit_bytes)

    async def _count(self, transaction: Transaction, sample: Sample) -> int:
        counts = await transaction.counts()
        await transaction.set_counts(with_new_sample(counts, sample.bytes, self.clock()))
        return counts.crossings

    async def _require_space(self, transaction: Transaction, photo: Photo) -> None:
        if self.limit_bytes is None:
            return
        taken = (await transaction.counts()).bytes + await transaction.claimed_bytes(except_for=photo.sha256)
        if taken + len(photo.data) > self.limit_bytes:
            figures = f"{taken / 1e9:.3f} GB of {self.limit_bytes / 1e9:.3f} GB are taken"
            raise RefusedError(
                RejectionReason.STORAGE_FULL, f"{figures}, the photo needs {len(photo.data) / 1e6:.2f} MB"
            )


async def require_not_erased(transaction: Transaction, confirmed: ScanConfirmed) -> None:
    if await transaction.is_erased(confirmed.scan_id, confirmed.subject):
        raise ErasedError(confirmed.scan_id)


def require_split(confirmed: ScanConfirmed, split: Split) -> None:
    """A sample keeps its split. Raises `RefusedError(split-conflict)` when a later confirmation may only be trained on and the split is another."""
    choose_split(confirmed.subject, [split], train_only=_train_only(confirmed))


async def _split(
    transaction: Transaction, confirmed: ScanConfirmed, look: Fingerprint, known: SampleMeta | None
) -> Split:
    own = None if confirmed.anonymous else await transaction.assigned_split(confirmed.subject)
    given = (
        [known.split]
        if known
        else [sample.split for sample in await transaction.near_duplicates(look)] + ([own] if own else [])
    )
    split = choose_split(confirmed.subject, given, train_only=_train_only(confirmed))
    if own is None and not confirmed.anonymous:
        await transaction.assign_split(confirmed.subject, split)
    return split


def _train_only(confirmed: ScanConfirmed) -> bool:
    return confirmed.anonymous or not confirmed.nothing_missing


def _claimed(confirmed: ScanConfirmed, photo: Photo, look: Fingerprint, split: Split, now: datetime) -> Sample:
    return Sample(
        sha256=photo.sha256,
        source_sha256=confirmed.image.sha256,
        scan_id=confirmed.scan_id,
        subject=confirmed.subject,
        anonymous=confirmed.anonymous,
        split=split,
        media_type=photo.media_type,
        bytes=len(photo.data),
        fingerprint=look,
        claimed_at=now,
    )


def _meta(
    confirmed: ScanConfirmed, sample: Sample, image: ImageRef, boxes: tuple[LabelledBox, ...], now: datetime
) -> SampleMeta:
    return SampleMeta(
        sha256=sample.sha256,
        scan_id=sample.scan_id,
        subject=sample.subject,
        anonymous=sample.anonymous,
        split=sample.split,
        media_type=sample.media_type,
        width=image.width,
        height=image.height,
        boxes=boxes,
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
