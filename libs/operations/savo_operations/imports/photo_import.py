"""Import of a data set: photos to the object store as the gateway puts them, and a `scans.confirmed` for each.

The collector makes samples of them by its own rules. The events have no experiment, so they are no evidence for a
rollout. Ids are derived from the photo's bytes: what was imported before is not published again, and an interrupted
import continues. A corrected label is a new revision. All photos of a group have one random subject, so they get one
split. A group with a photo that may be in train alone is anonymous, which the collector puts in train.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from savo_contracts.documents import CLASSES_KEY, ClassList, RejectedBox, SampleMeta, sample_meta_key, scan_photo_key
from savo_contracts.envelope import Envelope, ImageRef, named_id
from savo_contracts.scans import Action, Arm, BoxSource, ConfirmedItem, ScanConfirmed
from savo_datasets.exports.selection import labels_by_id
from savo_datasets.found_photos import printable
from savo_datasets.labels import TruthBox
from savo_detection.errors import PhotoError
from savo_detection.photos.decoding import probe
from savo_detection.photos.integrity import check_pixels
from savo_detection.photos.metadata import strip_metadata
from savo_operations.imports.data_set import DataSet, ImportOptions, PhotoToImport
from savo_runtime.errors import DependencyDownError
from savo_runtime.messaging.publishing.publisher import OutgoingRecord, record_of
from savo_runtime.storage.class_list import extend_class_list, read_class_list
from savo_runtime.storage.concurrency import map_limited
from savo_runtime.storage.port import ObjectConflictError, ObjectNotFoundError, ObjectStore

__all__ = ["Channel", "ImportReport", "PhotoImport"]

SOURCE = "cli"
MODEL_VERSION = "import"
MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
"""As for uploads to the gateway."""

NEW, CORRECTED, UNCHANGED, OF_A_SCAN, TWICE = "new", "corrected", "unchanged", "sample of a scan", "same photo twice"
REFUSED = "photo that the gateway would refuse"
_BATCH = 64
"""Confirmations that are sent together, of any groups."""
_ROUNDING = 6
"""Decimals in which boxes are compared."""

OnProgress = Callable[[int, int], None]


class Channel(Protocol):
    """Publishes records, and waits where the broker must not be overrun."""

    async def send(self, records: Sequence[OutgoingRecord]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Checked:
    """A photo that is accepted, with what the product knows of it."""

    photo: PhotoToImport
    sha256: str
    """Of the bytes to store."""
    state: str
    revision: int
    subject: str | None
    """Of the sample that it is already."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """A photo that the gateway would refuse."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class _Accepted:
    """A photo to publish. All photos of a group have one subject."""

    checked: _Checked
    subject: str
    train_only: bool


@dataclass
class ImportReport:
    """What an import did, or would do."""

    photos: Counter[str] = field(default_factory=Counter)
    """Number of photos by what became of them."""
    boxes: int = 0
    groups: int = 0
    train_only_groups: int = 0
    added_classes: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, path: Path, details: str) -> None:
        self.left_out.setdefault(reason, []).append(f"{printable(path.name)}: {details}")


@dataclass(frozen=True)
class PhotoImport:
    """One import. `channel`: None for a dry run, which writes nothing."""

    store: ObjectStore
    channel: Channel | None
    options: ImportOptions
    clock: Callable[[], datetime]
    on_progress: OnProgress = lambda _done, _total: None

    async def run(self, data: DataSet) -> ImportReport:
        """Raises the store's and the channel's errors; a repeat continues."""
        report = ImportReport(groups=len(data.groups), train_only_groups=sum(data.train_only), left_out=data.left_out)
        classes = await self._register_classes(data, report)
        photos = (photo for group in data.groups for photo in group)
        async with aclosing(map_limited(photos, lambda photo: self._check(photo, classes))) as checked:
            waiting: list[_Accepted] = []
            async for accepted in self._accepted(data, checked, report):
                waiting.append(accepted)
                if len(waiting) == _BATCH:
                    await self._publish(waiting)
                    waiting.clear()
            await self._publish(waiting)
        return report

    async def _register_classes(self, data: DataSet, report: ImportReport) -> dict[str, str]:
        """Add the classes in the order of the data set, so that ids do not depend on the order of collection.

        Returns the label of each class, that of the replacement for a merged one.
        """
        classes, etag = await read_class_list(self.store)
        wanted = [entry.label for entry in data.class_list.classes] or data.labels()
        report.added_classes = [label for label in dict.fromkeys(wanted) if label not in classes.names()]
        if self.channel is not None and report.added_classes:
            is_copied = etag is None and await self._copy_class_list(data.class_list)
            classes = data.class_list if is_copied else await extend_class_list(self.store, wanted)
        labels = labels_by_id(classes)
        return {entry.label: labels[entry.id] for entry in classes.classes}

    async def _copy_class_list(self, classes: ClassList) -> bool:
        """Give a product without classes those of the exporting one, with their ids. False where there are none."""
        if not classes.classes:
            return False
        content = classes.model_dump_json(indent=1).encode()
        try:
            await self.store.replace(CLASSES_KEY, content, expected_etag=None, media_type="application/json")
        except ObjectConflictError:
            return False
        return True

    async def _check(self, photo: PhotoToImport, classes: dict[str, str]) -> _Checked | _Refused:
        try:
            stored = await asyncio.to_thread(_storable, photo.path)
        except (PhotoError, ValueError) as error:
            return _Refused(photo.path, str(error))
        sha256 = hashlib.sha256(stored).hexdigest()
        try:
            meta = SampleMeta.model_validate_json(await self.store.get(sample_meta_key(sha256)))
        except ObjectNotFoundError:
            return _Checked(photo, sha256, NEW, 1, None)
        if meta.scan_id != _scan_id(sha256):
            return _Checked(photo, sha256, OF_A_SCAN, 0, None)
        if _is_labelled(meta, photo, classes):
            return _Checked(photo, sha256, UNCHANGED, meta.revision, meta.subject)
        return _Checked(photo, sha256, CORRECTED, meta.revision + 1, meta.subject)

    async def _accepted(
        self, data: DataSet, checked: AsyncIterator[_Checked | _Refused], report: ImportReport
    ) -> AsyncIterator[_Accepted]:
        """The photos to publish, group by group, with the subject of their group. The others are counted."""
        subjects: dict[str, str] = {}
        done = 0
        for group, train_only in zip(data.groups, data.train_only, strict=True):
            usable = []
            for _ in group:
                photo = await anext(checked)
                if isinstance(photo, _Checked):
                    usable.append(photo)
                else:
                    report.leave_out(REFUSED, photo.path, photo.reason)
            subject = _subject(usable, subjects)
            for photo in usable:
                state = TWICE if photo.sha256 in subjects else photo.state
                subjects.setdefault(photo.sha256, subject)
                report.photos[state] += 1
                if state in (NEW, CORRECTED):
                    report.boxes += len(photo.photo.items)
                    yield _Accepted(photo, subject, train_only)
            done += len(group)
            self.on_progress(done, data.photos)

    async def _publish(self, batch: Sequence[_Accepted]) -> None:
        """Put the photos, then send their confirmations together."""
        if self.channel is not None and batch:
            put = map_limited(batch, self._put)
            await self.channel.send([record async for record in put])

    async def _put(self, accepted: _Accepted) -> OutgoingRecord:
        """Put the photo where the gateway puts those of scans; the record of its confirmation."""
        checked = accepted.checked
        data = await asyncio.to_thread(_storable, checked.photo.path)
        if hashlib.sha256(data).hexdigest() != checked.sha256:
            raise DependencyDownError("data-set", f"{checked.photo.path} was changed during the import; run it again")
        facts = probe(data, max_pixels=MAX_PIXELS)
        image = ImageRef(
            key=scan_photo_key(checked.sha256, facts.media_type),
            sha256=checked.sha256,
            bytes=len(data),
            width=facts.width,
            height=facts.height,
            media_type=facts.media_type,
        )
        await self.store.put_if_absent(image.key, data, media_type=image.media_type)
        event = self._event(accepted, image)
        digest = hashlib.sha256(event.model_dump_json(exclude={"confirmed_at"}).encode()).hexdigest()
        event_id = named_id(f"import/{checked.sha256}/{checked.revision}/{digest}")
        return record_of(Envelope.new(event, SOURCE, event_id=event_id, time=event.confirmed_at))

    def _event(self, accepted: _Accepted, image: ImageRef) -> ScanConfirmed:
        checked = accepted.checked
        return ScanConfirmed(
            scan_id=_scan_id(checked.sha256),
            subject=accepted.subject,
            anonymous=accepted.train_only,
            image=image,
            experiment=None,  # rollout counts no event without an experiment
            assigned_arm=Arm.BASELINE,
            served_by=BoxSource.ENGINEER,
            model_version=MODEL_VERSION,
            bucket=0,
            share=0.0,
            items=(*map(_item, checked.photo.items), *map(_removed, checked.photo.rejected)),
            nothing_missing=checked.photo.exhaustive,
            consent=self.options.consent,
            revision=checked.revision,
            confirmed_at=self.clock(),
        )


def _storable(path: Path) -> bytes:
    """The photo without metadata but its orientation. Raises `PhotoError`, and `ValueError` for a wrong type or size.

    What was written is read again: nothing but pixels may be left.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"a photo may have at most {MAX_BYTES / 1e6:g} MB")
    data = path.read_bytes()
    facts = probe(data, max_pixels=MAX_PIXELS)
    if facts.media_type == "image/heic":
        raise ValueError("HEIC is not imported; convert it to JPEG")
    stored = strip_metadata(data, facts.orientation)
    check_pixels(stored)
    if probe(stored, max_pixels=MAX_PIXELS) != facts or strip_metadata(stored, facts.orientation) != stored:
        raise ValueError("its metadata cannot be removed")
    return stored


def _scan_id(sha256: str) -> str:
    """The id of an imported photo's confirmation: the same photo gives the same id."""
    return named_id(f"import/{sha256}").hex


def _subject(group: Sequence[_Checked], subjects: Mapping[str, str]) -> str:
    """The subject of a group: that of an earlier import, else one that has no relation to a person.

    `subjects`: by sha256, those of the groups before it. A photo in two groups joins them.
    """
    known = (photo.subject or subjects.get(photo.sha256) for photo in group)
    first = min((photo.sha256 for photo in group), default="")
    return next(filter(None, known), None) or named_id(f"import/group/{first}").hex


def _item(box: TruthBox) -> ConfirmedItem:
    return ConfirmedItem(label=box.label, action=Action.KEPT, bbox=box.bbox, box_source=BoxSource.ENGINEER)


def _removed(box: RejectedBox) -> ConfirmedItem:
    return ConfirmedItem(
        label=box.label,
        action=Action.REMOVED,
        bbox=box.bbox,
        box_source=box.box_source,
        confidence=box.confidence,
    )


def _is_labelled(meta: SampleMeta, photo: PhotoToImport, classes: dict[str, str]) -> bool:
    """Whether the sample has these labels already."""
    stored = sorted(_rounded(TruthBox(classes.get(box.label, box.label), box.bbox)) for box in meta.boxes)
    wanted = sorted(_rounded(TruthBox(classes.get(box.label, box.label), box.bbox)) for box in photo.items)
    return stored == wanted and meta.exhaustive == photo.exhaustive


def _rounded(box: TruthBox) -> tuple[str, ...]:
    values = (box.bbox.x, box.bbox.y, box.bbox.width, box.bbox.height)
    return box.label, *(f"{value:.{_ROUNDING}f}" for value in values)
