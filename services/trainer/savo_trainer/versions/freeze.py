"""Freeze of a data set: a version that stays as it is, written once from the index of samples.

    datasets/ds-000001/version.json       claims the number; what the version has, and who froze it
    datasets/ds-000001/classes.json       the class list as it was
    datasets/labels/<labels sha256>.txt   label files by content, shared by versions
    datasets/ds-000001/manifest.jsonl     one line for each sample, ordered by sha256; a version with it is complete
    <folder>/manifest.jsonl, <folder>/frozen/<sha256>.txt    manifest and label files, locally

A sample that the collector stores, corrects or erases during the freeze is in the version as it was before or after. A
freeze that is interrupted leaves no manifest. Its repeat continues with the same number while the samples are the same.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from savo_contracts.documents import (
    CLASSES_KEY,
    ClassList,
    DatasetVersion,
    ManifestLine,
    dataset_classes_key,
    dataset_version_key,
    frozen_labels_key,
    manifest_key,
)
from savo_contracts.samples import Split
from savo_datasets.class_map import resolve
from savo_datasets.errors import DatasetError
from savo_datasets.labels import count_classes
from savo_runtime.storage.concurrency import map_limited
from savo_runtime.storage.digests import file_sha256
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore
from savo_trainer.errors import RunImpossibleError
from savo_trainer.lease_renewal import lease_held
from savo_trainer.ports import FrozenLabels, IndexedSample, Lease, SampleIndex, VersionNumbers
from savo_trainer.versions.manifest import PAGE, ManifestFile, write_manifest

__all__ = ["PEOPLE", "DatasetFreeze", "FrozenDataset", "Origin", "check_splits", "frozen_labels_path"]

PEOPLE = "people"
"""Owner of the version numbers that people's freezes take."""

RESTORE_CLASSES = "Restore samples/classes.json from a backup: it may only grow."
COLLECT_FROM_MORE_PEOPLE = (
    "Collect samples from more people: all photos of a person go to one split (70/20/10), "
    "and anonymous photos to train."
)

T = TypeVar("T")


@dataclass(frozen=True)
class FrozenDataset:
    """A data set version with its manifest on the local disk."""

    version: str
    manifest: ManifestFile


@dataclass(frozen=True)
class Origin:
    """Who freezes a version, and why."""

    run_id: str | None = None
    """The training run; None: a person."""
    by: str | None = None
    reason: str = ""


@dataclass
class _Counts:
    """What the manifest has, counted while it is written."""

    samples: Counter[Split] = field(default_factory=Counter)
    class_ids: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class DatasetFreeze:
    """Freezes data set versions, one at a time in all processes."""

    samples: SampleIndex
    labels: FrozenLabels
    numbers: VersionNumbers
    store: ObjectStore
    lease: Lease
    clock: Callable[[], datetime]

    async def __call__(self, dataset: str, origin: Origin, folder: Path) -> FrozenDataset:
        """Write a version of all samples, or return the origin's newest version where it has the same samples.

        `folder` keeps the label files, so that `download_dataset` does not fetch them again.
        Raises `RunImpossibleError` without samples, and for a training run without training or holdout samples, and
        `LeaseLostError`.
        """
        async with lease_held(self.lease):
            counts = _Counts()
            await self.labels.complete()
            manifest = await self._write_manifest(dataset, folder, counts)
            _check_counts(counts.samples, origin)
            classes = await _class_list(self.store)
            description = await self._description(manifest, counts, classes, origin)
            version = await self._claim(description)
            await self.labels.add_version(version, description.manifest_sha256)
            await self.store.put_if_absent(dataset_classes_key(version), classes, media_type="application/json")
            await self.store.upload(manifest_key(version), manifest.path, media_type="application/jsonl")
        return FrozenDataset(version, manifest)

    async def _write_manifest(self, dataset: str, folder: Path, counts: _Counts) -> ManifestFile:
        """Fetch each label file once, store it by content and list it. Leaves out samples that are erased meanwhile."""
        await asyncio.to_thread(frozen_labels_path("", folder).parent.mkdir, parents=True, exist_ok=True)
        found = map_limited(self.samples.in_dataset(dataset), self._fetch)
        async with aclosing(found):
            stored = map_limited(self._recorded(found, folder), lambda row: self._store_labels(*row))
            async with aclosing(stored):
                return await write_manifest(folder / "manifest.jsonl", self._counted(stored, counts))

    async def _fetch(self, sample: IndexedSample) -> tuple[ManifestLine, bytes] | None:
        """The sample's line and label file; None where the sample was erased."""
        try:
            labels = await self.store.get(sample.labels_key)
        except ObjectNotFoundError:
            return None
        labels_sha256 = hashlib.sha256(labels).hexdigest()
        line = ManifestLine(
            sha256=sample.sha256,
            split=sample.split,
            subject=sample.subject,
            image_key=sample.image_key,
            labels_key=frozen_labels_key(labels_sha256),
            labels_sha256=labels_sha256,
            revision=sample.revision,
        )
        return line, labels

    async def _recorded(
        self, found: AsyncIterable[tuple[ManifestLine, bytes] | None], folder: Path
    ) -> AsyncIterator[tuple[ManifestLine, bytes, bool]]:
        """Lines, label files, and whether a file was recorded before. From now on an erasure deletes these files.

        Keeps the label files in `folder`.
        """
        async for page in _pages(found):
            present = [row for row in page if row is not None]
            await asyncio.to_thread(_keep_labels, present, folder)
            known = await self.labels.add([(line.labels_sha256, line.sha256) for line, _ in present])
            for line, labels in present:
                yield line, labels, line.labels_sha256 in known

    async def _store_labels(self, line: ManifestLine, labels: bytes, known: bool) -> tuple[ManifestLine, Counter[int]]:
        if not (known and await self.store.head(line.labels_key)):
            await self.store.put_if_absent(line.labels_key, labels, media_type="text/plain")
        try:
            return line, count_classes(labels.decode())
        except ValueError:
            return line, Counter()  # the download leaves the sample out

    async def _counted(
        self, stored: AsyncIterable[tuple[ManifestLine, Counter[int]]], counts: _Counts
    ) -> AsyncIterator[ManifestLine]:
        """The lines of samples that were not erased before their label files were stored."""
        async for page in _pages(stored):
            erased = await self.samples.erased([line.sha256 for line, _ in page])
            await self.labels.release([(line.labels_sha256, line.sha256) for line, _ in page if line.sha256 in erased])
            for line, class_ids in page:
                if line.sha256 not in erased:
                    counts.samples[line.split] += 1
                    counts.class_ids.update(class_ids)
                    yield line

    async def _description(
        self, manifest: ManifestFile, counts: _Counts, classes: bytes, origin: Origin
    ) -> DatasetVersion:
        """The version's description without its number."""
        return DatasetVersion(
            version="",
            manifest_sha256=await asyncio.to_thread(file_sha256, manifest.path),
            samples={split.value: counts.samples[split] for split in Split},
            boxes=_boxes_by_label(counts.class_ids, ClassList.model_validate_json(classes)),
            frozen_at=self.clock(),
            run_id=origin.run_id,
            by=origin.by,
            reason=origin.reason,
        )

    async def _claim(self, description: DatasetVersion) -> str:
        """The number that this freeze may write: a new one, or one that it claimed for the same manifest before."""
        owner = description.run_id or PEOPLE
        version = await self.numbers.dataset_version(owner)
        while not await self._is_claimed(version, description):
            # The bucket has other samples, or a version that this database does not know: take the next number.
            version = await self.numbers.dataset_version(owner, above=int(version.removeprefix("ds-")))
        return version

    async def _is_claimed(self, version: str, description: DatasetVersion) -> bool:
        key, named = dataset_version_key(version), description.model_copy(update={"version": version})
        try:
            claimed = DatasetVersion.model_validate_json(await self.store.get(key))
        except ObjectNotFoundError:
            if await self.store.head(manifest_key(version)):
                return False  # frozen by an earlier release
            content = named.model_dump_json(indent=1).encode()
            return await self.store.put_if_absent(key, content, media_type="application/json")
        return claimed.removed_at is None and claimed.manifest_sha256 == description.manifest_sha256


def frozen_labels_path(sha256: str, folder: Path) -> Path:
    """Local path of a sample's label file as it was frozen."""
    return folder / "frozen" / f"{sha256}.txt"


def _keep_labels(rows: Sequence[tuple[ManifestLine, bytes]], folder: Path) -> None:
    for line, labels in rows:
        frozen_labels_path(line.sha256, folder).write_bytes(labels)


def _check_counts(counts: Mapping[Split, int], origin: Origin) -> None:
    """A person may freeze what is not enough for a training. Raises `RunImpossibleError`."""
    if origin.run_id is not None:
        check_splits(counts)
    elif not any(counts.values()):
        raise RunImpossibleError("there is no sample to freeze", ("`savo stats` shows what is collected.",))


def check_splits(counts: Mapping[Split, int]) -> None:
    """Raises `RunImpossibleError` without training or holdout samples."""
    for split, purpose in ((Split.TRAIN, "to train on"), (Split.TEST, "to measure on")):
        if not counts.get(split):
            sizes = ", ".join(f"{each.value} {counts.get(each, 0)}" for each in Split)
            raise RunImpossibleError(f"there is no sample {purpose} ({sizes})", (COLLECT_FROM_MORE_PEOPLE,))


def _boxes_by_label(class_ids: Mapping[int, int], classes: ClassList) -> dict[str, int]:
    """Merged classes count for their targets. An id that the class list does not have is left out."""
    labels, boxes = classes.names(), Counter[str]()
    for class_id, count in class_ids.items():
        try:
            boxes[labels[resolve(class_id, classes)]] += count
        except DatasetError:
            continue  # the download refuses the version
    return dict(boxes.most_common())


async def _class_list(store: ObjectStore) -> bytes:
    try:
        return await store.get(CLASSES_KEY)
    except ObjectNotFoundError:
        raise RunImpossibleError(
            f"{CLASSES_KEY} is missing: class ids in label files have no names", (RESTORE_CLASSES,)
        ) from None


async def _pages(items: AsyncIterable[T]) -> AsyncIterator[list[T]]:
    page: list[T] = []
    async for item in items:
        page.append(item)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page
