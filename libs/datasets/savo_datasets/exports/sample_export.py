"""Export of the collected samples as a stream: a tar in gzip members of about 64 MB, in order of sha256.

    images/<sha256>.<ext>  labels/<sha256>.txt      as they are stored
    classes.txt  classes.json  dataset.yaml  train.txt  val.txt  test.txt  subjects.csv  manifest.jsonl
    export.json                                     the last file: an archive with it is complete

Memory does not grow with the number of samples: the index is read page by page, photos are loaded a few at a time, and
the manifest is on disk until it is sent.

A sample that is erased, or whose person withdrew the consent, is in no page of the index. What was loaded and not sent
within two seconds is checked again. The manifest lists what is left at the end.

A download continues at a member by its name. The samples before it are not sent again, except those that were stored
since the export began: of two files with one name, unpacking keeps the later.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from savo_contracts.documents import (
    MANIFEST_FILE,
    SUMMARY_FILE,
    ClassList,
    ExportedSample,
    ExportSummary,
    LabelledBox,
    SampleMeta,
    sample_image_key,
    sample_labels_key,
    sample_meta_key,
)
from savo_datasets.exports.archive_documents import ArchiveDocuments, SpooledLines
from savo_datasets.exports.gzip_members import CompressedMember, StoredMember
from savo_datasets.exports.layouts import Format, image_path, label_file, labels_path
from savo_datasets.exports.selection import DOCUMENTS, END, MemberName, Selection, labels_by_id
from savo_datasets.exports.tar_entries import TAR_END, tar_header, tar_padding
from savo_datasets.exports.version_members import version_members
from savo_runtime.storage.class_list import read_class_list
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore

__all__ = ["MEMBER_BYTES", "IndexedSample", "SampleExport", "SampleIndex"]

MEMBER_BYTES = 64 << 20
_PAGE = 32
_MAX_AGE = 2.0
"""Seconds between the check that a sample may be sent and its sending."""
_MANIFEST_BATCH = 256
_MAX_LOADING = 16
_LOADING_BYTES = 48 << 20
"""Photos that are loaded ahead: as many as fit, by the size of recent ones."""
_PHOTO_BYTES = 8 << 20
"""Assumed size before the first photo."""
_SEND_BYTES = 256 << 10
"""Small photos are sent together."""
_SHARED = sorted(SampleMeta.model_fields.keys() & ExportedSample.model_fields.keys() - {"boxes"})
_SILENCE = 5.0
"""Seconds without content after which an empty block keeps the connection alive."""


@dataclass(frozen=True)
class IndexedSample:
    """A sample as the index knows it."""

    sha256: str
    bytes: int
    """Of the image."""
    consent_version: str | None = None


class SampleIndex(Protocol):
    """The stored samples, without those that are erased or whose person withdrew the consent."""

    async def page(
        self, after: str, since: datetime | None, until: datetime | None, limit: int
    ) -> Sequence[IndexedSample]:
        """The samples with a sha256 above `after`, in order. `since` and `until`: when first stored."""
        ...

    async def present(self, sha256: Sequence[str]) -> set[str]:
        """Those of the samples that still may be exported."""
        ...

    async def image_bytes(self) -> int:
        """Bytes of all images that may be exported."""
        ...


@dataclass(frozen=True)
class _Loaded:
    """A sample that is ready to be sent."""

    sample: ExportedSample
    labels: bytes
    image: bytes | None
    """None: sent before."""
    checked_at: float


@dataclass
class _Progress:
    """What an export has sent."""

    name: MemberName
    lines: SpooledLines
    member: StoredMember | None = None
    sent_at: float = field(default_factory=time.monotonic)
    largest: float = _PHOTO_BYTES
    """Recent photos, in bytes."""

    @property
    def ahead(self) -> int:
        """Number of photos to load ahead."""
        return min(_MAX_LOADING, max(2, int(_LOADING_BYTES / self.largest)))

    def is_silent(self) -> bool:
        return time.monotonic() - self.sent_at > _SILENCE

    def sent(self, *parts: bytes) -> bytes:
        """The parts to send now."""
        self.sent_at = time.monotonic()
        return b"".join(parts)

    def begin_member(self, name: MemberName) -> bytes:
        self.name, self.member = name, StoredMember(str(name))
        return self.member.begin()


@dataclass
class _Totals:
    """Sums over the samples of the manifest."""

    boxes: int = 0
    bytes: int = 0
    gone: int = 0
    """Samples that were sent and then erased."""


@dataclass(frozen=True)
class SampleExport:
    """One export. `stream` gives its bytes; `resumed`: the name of the member to continue with."""

    store: ObjectStore
    index: SampleIndex
    selection: Selection
    clock: Callable[[], datetime]
    resumed: MemberName | None = None
    member_bytes: int = MEMBER_BYTES
    max_age: float = _MAX_AGE

    async def stream(self) -> AsyncIterator[bytes]:
        """Raises the store's and the index's errors, after which a client continues later."""
        lines = SpooledLines()
        try:
            began_at = self.clock().replace(microsecond=0)
            name = self.resumed or MemberName(began_at, self.selection.digest(), "0" * 64)
            progress = _Progress(name, lines)
            async for data in self._photos(progress):
                yield data
            async for data in self._documents(progress):
                yield data
        finally:
            lines.close()

    async def _photos(self, progress: _Progress) -> AsyncIterator[bytes]:
        classes, _ = await read_class_list(self.store)
        buffered = [progress.begin_member(progress.name)]
        async for loaded in self._loaded(labels_by_id(classes), progress):
            if loaded is not None and await self._may_be_sent(loaded):
                progress.lines.add(loaded.sample.model_dump_json())
                if loaded.image is not None:
                    buffered += self._member_parts(loaded, loaded.image, progress)
            if sum(map(len, buffered)) >= _SEND_BYTES:
                yield progress.sent(*buffered)
                buffered = []
            elif progress.is_silent():
                yield progress.sent(*buffered, StoredMember.nothing())
                buffered = []
        assert progress.member is not None
        yield progress.sent(*buffered, progress.member.end())

    def _member_parts(self, loaded: _Loaded, image: bytes, progress: _Progress) -> Iterator[bytes]:
        """The sample's bytes, in the current member or in a new one."""
        assert progress.member is not None
        sample = loaded.sample
        if progress.member.size >= self.member_bytes:
            yield progress.member.end()
            yield progress.begin_member(progress.name.at(sample.sha256))
        progress.largest = max(len(image), progress.largest * 0.9)
        yield progress.member.add(
            *_entry(sample.image, image, sample.stored_at), *_entry(sample.labels, loaded.labels, sample.stored_at)
        )

    async def _may_be_sent(self, loaded: _Loaded) -> bool:
        """Whether the sample is still there, if that was checked too long ago."""
        if time.monotonic() - loaded.checked_at <= self.max_age:
            return True
        sha256 = loaded.sample.sha256
        return bool(await self.index.present([sha256])) and await self.store.head(sample_meta_key(sha256)) is not None

    async def _loaded(self, labels: dict[int, str], progress: _Progress) -> AsyncIterator[_Loaded | None]:
        """The samples of the index in order, loaded ahead. None for each that the selection leaves out."""
        loading: deque[asyncio.Task[_Loaded | None]] = deque()
        try:
            async for indexed in self._indexed():
                if indexed is None:
                    yield None
                    continue
                loading.append(asyncio.create_task(self._load(*indexed, labels)))
                while len(loading) > progress.ahead:
                    yield await loading.popleft()
            while loading:
                yield await loading.popleft()
        finally:
            for task in loading:
                task.cancel()
            await asyncio.gather(*loading, return_exceptions=True)

    async def _indexed(self) -> AsyncIterator[tuple[IndexedSample, float] | None]:
        """Each sample of the index, and when it was read. None for each that the version lacks."""
        after = ""
        async with version_members(self.selection.version, self.store) as members:
            while True:
                checked_at = time.monotonic()
                page = await self.index.page(after, self.selection.since, self.selection.until, _PAGE)
                for entry in page:
                    is_selected = members is None or members.has(entry.sha256)
                    yield (entry, checked_at) if is_selected else None
                if len(page) < _PAGE:
                    return
                after = page[-1].sha256

    async def _load(self, entry: IndexedSample, checked_at: float, labels: dict[int, str]) -> _Loaded | None:
        """None where the selection leaves the sample out, or where it is erased meanwhile."""
        try:
            meta = SampleMeta.model_validate_json(await self.store.get(sample_meta_key(entry.sha256)))
            if not self.selection.matches(meta, labels):
                return None
            text = await self.store.get(sample_labels_key(entry.sha256))
            image = await self._image(meta)
        except ObjectNotFoundError:
            return None
        size = entry.bytes if image is None else len(image)
        sample, text = _exported(meta, text, size, entry.consent_version, labels, self.selection.form)
        return _Loaded(sample, text, image, checked_at)

    async def _image(self, meta: SampleMeta) -> bytes | None:
        """The photo; None where the client has it from before the interruption."""
        resumed = self.resumed
        if resumed and not resumed.covers(meta.sha256) and meta.stored_at <= resumed.began_at:
            return None
        return await self.store.get(sample_image_key(meta.sha256, meta.media_type))

    async def _documents(self, progress: _Progress) -> AsyncIterator[bytes]:
        classes, _ = await read_class_list(self.store)
        member, totals = CompressedMember(str(progress.name.at(DOCUMENTS))), _Totals()
        with ArchiveDocuments(self.selection.form, classes.names()) as documents:
            yield progress.sent(member.begin())
            async for _ in self._add_present(documents, progress.lines, totals):
                if progress.is_silent():
                    yield progress.sent(member.nothing())
            documents.finish()
            summary = self._summary(progress.name.began_at, classes, documents.files[MANIFEST_FILE].count, totals)
            for name, text in _class_documents(classes):
                yield member.add(*_entry(name, text.encode(), summary.finished_at))
            for name, lines in documents.files.items():
                yield member.add(tar_header(name, lines.size, summary.finished_at))
                for chunk in lines.chunks():
                    yield await asyncio.to_thread(member.add, chunk)
                yield member.add(tar_padding(lines.size))
            yield member.end()
        last = StoredMember(str(progress.name.at(END)))
        content = summary.model_dump_json(indent=1).encode()
        yield last.begin() + last.add(*_entry(SUMMARY_FILE, content, summary.finished_at), TAR_END) + last.end()

    async def _add_present(
        self, documents: ArchiveDocuments, lines: SpooledLines, totals: _Totals
    ) -> AsyncIterator[None]:
        """Fill the documents with the samples that are still there, and count them; None after each batch."""
        for batch in lines.batches(_MANIFEST_BATCH):
            samples = [ExportedSample.model_validate_json(line) for line in batch]
            present = await self.index.present([sample.sha256 for sample in samples])
            for sample, line in zip(samples, batch, strict=True):
                if sample.sha256 not in present:
                    totals.gone += 1
                    continue
                documents.add(sample, line.decode().rstrip("\n"))
                totals.boxes += len(sample.boxes)
                totals.bytes += sample.bytes
            yield None

    def _summary(self, began_at: datetime, classes: ClassList, samples: int, totals: _Totals) -> ExportSummary:
        return ExportSummary(
            layout=self.selection.form.value,
            filters=self.selection.filters(),
            samples=samples,
            boxes=totals.boxes,
            bytes=totals.bytes,
            classes=classes.names(),
            erased_meanwhile=totals.gone,
            began_at=began_at,
            finished_at=self.clock(),
        )


def _exported(
    meta: SampleMeta, stored: bytes, size: int, consent_version: str | None, labels: dict[int, str], form: Format
) -> tuple[ExportedSample, bytes]:
    """The sample's line of the manifest, and its label file."""
    # Without validation: each value comes from a valid `SampleMeta`.
    sample = ExportedSample.model_construct(
        **{name: getattr(meta, name) for name in _SHARED},
        image=image_path(meta, form),
        labels=labels_path(meta, form),
        labels_sha256="",
        group=meta.subject,
        boxes=tuple(_named(box, labels) for box in meta.boxes),
        bytes=size,
        consent_version=consent_version,
    )
    text = label_file(sample, stored, form)
    return sample.model_copy(update={"labels_sha256": hashlib.sha256(text).hexdigest()}), text


def _named(box: LabelledBox, labels: dict[int, str]) -> LabelledBox:
    label = labels.get(box.class_id, box.label)
    return box if label == box.label else box.model_copy(update={"label": label})


def _entry(name: str, content: bytes, modified: datetime) -> tuple[bytes, bytes, bytes]:
    return tar_header(name, len(content), modified), content, tar_padding(len(content))


def _class_documents(classes: ClassList) -> Iterator[tuple[str, str]]:
    yield "classes.txt", "".join(f"{name}\n" for name in classes.names())
    yield "classes.json", classes.model_dump_json(indent=1)
