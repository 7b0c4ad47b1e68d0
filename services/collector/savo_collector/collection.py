"""Collection: turns a confirmed scan into a stored sample, or into a rejection with its reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from savo_collector.class_registry import ClassRegistry
from savo_collector.duplicates import require_unclaimed
from savo_collector.erasure import SampleErasure
from savo_collector.errors import ErasedError, ErasureCause, RejectedError
from savo_collector.labels import labelled_boxes, present_items
from savo_collector.ports import Photo, PhotoStore, Rejection, Sample, SampleState
from savo_collector.sample_writer import SampleWriter, require_not_erased, require_split
from savo_contracts.documents import LabelledBox
from savo_contracts.envelope import ImageRef, named_id
from savo_contracts.geometry import BoundingBox
from savo_contracts.samples import PENDING_REASONS, RejectionReason, SampleRejected, SampleStored
from savo_contracts.scans import Action, ScanConfirmed
from savo_detection.photos.fingerprints import Fingerprint, fingerprint_of
from savo_detection.photos.quality import QualityPolicy, measure, quality_problem
from savo_runtime.errors import DependencyDownError
from savo_runtime.storage.port import StorageFullError
from savo_runtime.telemetry.metrics import SAMPLES

__all__ = ["CollectSample", "CollectionPolicy"]

log = structlog.get_logger()

_LABEL_REASONS = PENDING_REASONS | {RejectionReason.NO_ITEMS}
"""Rejections of the labels, not of the photo. They also withdraw the sample that an earlier confirmation stored."""


@dataclass(frozen=True)
class CollectionPolicy:
    """Whether confirmed photos may be stored."""

    collect: bool = False
    require_consent: bool = False

    def reason_to_skip(self, confirmed: ScanConfirmed, *, withdrawn: bool = False) -> str | None:
        """`withdrawn`: the person withdrew a consent, possibly after this confirmation."""
        if withdrawn or confirmed.consent is False or (self.require_consent and confirmed.consent is None):
            return RejectionReason.NO_CONSENT.value
        return None if self.collect else "collection-off"


@dataclass(frozen=True)
class CollectSample:
    """The use case of `scans.confirmed`."""

    photos: PhotoStore
    classes: ClassRegistry
    writer: SampleWriter
    erasure: SampleErasure
    clock: Callable[[], datetime]
    policy: CollectionPolicy
    quality: QualityPolicy

    async def __call__(self, confirmed: ScanConfirmed) -> SampleStored | SampleRejected | None:
        """The event to publish; None where nothing may be stored.

        The same confirmation gives the same event, also after a crash at any line.
        """
        if reason := self.policy.reason_to_skip(confirmed, withdrawn=await self._has_withdrawn(confirmed)):
            await self._skip(confirmed, reason)
            return None
        try:
            return await self._collect(confirmed)
        except ErasedError as erased:
            await self.erasure.remove_leftovers(confirmed.scan_id, erased.cause)
            return None

    async def _has_withdrawn(self, confirmed: ScanConfirmed) -> bool:
        async with self.writer.database.read_transaction() as transaction:
            return await transaction.has_withdrawn_consent(confirmed.subject)

    async def _collect(self, confirmed: ScanConfirmed) -> SampleStored | SampleRejected | None:
        try:
            known = await self._known_result(confirmed)
            if isinstance(known, SampleStored | SampleRejected):
                return known
            if known and known.stored and known.state is SampleState.STORED:
                return await self._relabel(confirmed, known, known.stored.image)
            if known and known.revision > confirmed.revision:
                return None  # a later confirmation revoked the consent
            return await self._store(confirmed)
        except RejectedError as rejection:
            return await self._reject(confirmed, rejection)

    async def _store(self, confirmed: ScanConfirmed) -> SampleStored:
        photo = await self.photos.read(confirmed.image)
        fingerprint = await asyncio.to_thread(_checked_fingerprint, photo, _labelled_areas(confirmed), self.quality)
        boxes = await self._labels(confirmed)
        sample = await self.writer.claim(confirmed, photo, fingerprint)
        try:
            image = await self.writer.samples.put_image(photo)
            event = await self.writer.write(confirmed, sample, image, boxes)
        except StorageFullError as error:
            await self.erasure.release_claim(sample)
            raise RejectedError(RejectionReason.STORAGE_FULL, str(error)) from error
        return await self.writer.record(sample, event)

    async def _relabel(self, confirmed: ScanConfirmed, sample: Sample, image: ImageRef) -> SampleStored:
        """Store a later confirmation's labels. The photo was accepted before, and scans/ may not have it any more."""
        require_split(confirmed, sample.split)
        boxes = await self._labels(confirmed)
        try:
            event = await self.writer.write(confirmed, sample, image, boxes)
        except StorageFullError as error:
            # The sample stays, and the correction must not be lost: the consumer pauses until there is space.
            raise DependencyDownError("object-store", str(error)) from error
        return await self.writer.record(sample, event)

    async def _labels(self, confirmed: ScanConfirmed) -> tuple[LabelledBox, ...]:
        items = present_items(confirmed)
        classes = await self.classes.classes_for(confirmed, {item.label for item in items})
        return labelled_boxes(items, classes, confirmed.served_by)

    async def _known_result(self, confirmed: ScanConfirmed) -> Sample | SampleStored | SampleRejected | None:
        """The event of this confirmation, or of a later one, where it was handled before; else the scan's sample."""
        async with self.writer.database.read_transaction() as transaction:
            await require_not_erased(transaction, confirmed)
            rejection = await transaction.rejection_of(confirmed.scan_id)
            sample = await transaction.sample_of_photo(confirmed.image.sha256)
        if rejection and rejection.confirmed.revision > confirmed.revision:
            return _rejected(rejection)
        require_unclaimed(confirmed.scan_id, sample.scan_id if sample else None)
        is_stored = sample is not None and sample.state is SampleState.STORED
        if sample and sample.stored and is_stored and sample.stored.revision >= confirmed.revision:
            return sample.stored
        return sample

    async def _reject(self, confirmed: ScanConfirmed, rejected: RejectedError) -> SampleRejected:
        if rejected.reason in _LABEL_REASONS:
            await self.erasure.withdraw(confirmed.scan_id, confirmed.revision, ErasureCause.LABELS)
        pending = rejected.reason in PENDING_REASONS
        rejection = Rejection(confirmed, rejected.reason.value, rejected.detail, self.clock(), pending=pending)
        async with self.writer.database.transaction() as transaction:
            await require_not_erased(transaction, confirmed)
            earlier = await transaction.rejection_of(confirmed.scan_id)
            if earlier and _is_repeat(rejection, earlier):
                return _rejected(earlier)
            await transaction.record_rejection(rejection)
            if self.writer.publish_events:
                name = f"sample-rejected/{confirmed.scan_id}/{confirmed.revision}/{rejection.reason}"
                await transaction.publish(_rejected(rejection), named_id(name))
        SAMPLES.labels("waiting" if rejection.pending else "rejected", rejection.reason).inc()
        log.info("sample.rejected", scan_id=confirmed.scan_id, reason=rejection.reason, detail=rejection.detail)
        return _rejected(rejection)

    async def _skip(self, confirmed: ScanConfirmed, reason: str) -> None:
        SAMPLES.labels("skipped", reason).inc()
        if confirmed.consent is False:
            await self.erasure.revoke_consent(confirmed)


def _labelled_areas(confirmed: ScanConfirmed) -> list[BoundingBox]:
    """Boxes of the items that are in the photo. Some may lack one: that is a rejection of the labels."""
    return [item.bbox for item in confirmed.items if item.bbox is not None and item.action is not Action.REMOVED]


def _checked_fingerprint(photo: Photo, boxes: Sequence[BoundingBox], policy: QualityPolicy) -> Fingerprint:
    if problem := quality_problem(measure(photo.pixels, min(photo.width, photo.height), boxes), policy):
        raise RejectedError(problem.reason, problem.detail)
    return fingerprint_of(photo.pixels)


def _is_repeat(rejection: Rejection, earlier: Rejection) -> bool:
    if earlier.confirmed.revision != rejection.confirmed.revision:
        return earlier.confirmed.revision > rejection.confirmed.revision
    return earlier.reason == rejection.reason


def _rejected(rejection: Rejection) -> SampleRejected:
    confirmed = rejection.confirmed
    return SampleRejected(
        sha256=confirmed.image.sha256,
        scan_id=confirmed.scan_id,
        subject=confirmed.subject,
        reason=rejection.reason,
        detail=rejection.detail,
        rejected_at=rejection.rejected_at,
    )
