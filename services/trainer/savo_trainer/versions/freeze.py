"""Freeze of a data set: its manifest, written once from the index of samples.

    datasets/ds-000001/manifest.jsonl     one line for each sample, ordered by sha256; never changed
    <folder>/manifest.jsonl               the same, locally
    <folder>/frozen/<sha256>.txt          label files as they were frozen

A sample that the collector stores, corrects or erases during the freeze is in the version as it was before or after.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from savo_contracts.documents import ManifestLine, manifest_key
from savo_contracts.samples import Split
from savo_runtime.storage.concurrency import map_limited
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore
from savo_trainer.errors import RunImpossibleError
from savo_trainer.ports import IndexedSample, VersionNumbers
from savo_trainer.versions.manifest import ManifestFile, write_manifest

__all__ = ["FrozenDataset", "check_splits", "freeze", "frozen_labels_path"]

COLLECT_FROM_MORE_PEOPLE = (
    "Collect samples from more people: all photos of a person go to one split (70/20/10), "
    "and anonymous photos to train."
)


@dataclass(frozen=True)
class FrozenDataset:
    """A data set version with its manifest on the local disk."""

    version: str
    manifest: ManifestFile


async def freeze(
    run_id: str, samples: AsyncIterable[IndexedSample], store: ObjectStore, numbers: VersionNumbers, folder: Path
) -> FrozenDataset:
    """Write the manifest of the run's data set version, once. `samples` are ordered by sha256.

    `folder` keeps the label files, so that `download_dataset` does not fetch them again.
    Raises `RunImpossibleError` without training or holdout samples.
    """
    manifest = await _write_manifest(samples, store, folder)
    content, version = await asyncio.to_thread(manifest.path.read_bytes), await numbers.dataset_version(run_id)
    while not await _write_once(manifest_key(version), content, store):
        # The bucket has a version that this database does not know: take the next number.
        version = await numbers.dataset_version(run_id, above=int(version.removeprefix("ds-")))
    return FrozenDataset(version, manifest)


def frozen_labels_path(sha256: str, folder: Path) -> Path:
    """Local path of a sample's label file as it was frozen."""
    return folder / "frozen" / f"{sha256}.txt"


def check_splits(counts: Mapping[Split, int]) -> None:
    """Raises `RunImpossibleError` without training or holdout samples."""
    for split, purpose in ((Split.TRAIN, "to train on"), (Split.TEST, "to measure on")):
        if not counts.get(split):
            sizes = ", ".join(f"{each.value} {counts.get(each, 0)}" for each in Split)
            raise RunImpossibleError(f"there is no sample {purpose} ({sizes})", (COLLECT_FROM_MORE_PEOPLE,))


async def _write_manifest(samples: AsyncIterable[IndexedSample], store: ObjectStore, folder: Path) -> ManifestFile:
    """Fetch each label file once. Samples that were erased meanwhile are left out."""
    await asyncio.to_thread(frozen_labels_path("", folder).parent.mkdir, parents=True, exist_ok=True)
    counts = Counter[Split]()
    async with aclosing(map_limited(samples, lambda sample: _line(sample, store, folder))) as lines:
        manifest = await write_manifest(folder / "manifest.jsonl", _counted(lines, counts))
    check_splits(counts)
    return manifest


async def _counted(lines: AsyncIterable[ManifestLine | None], counts: Counter[Split]) -> AsyncIterator[ManifestLine]:
    async for line in lines:
        if line is not None:
            counts[line.split] += 1
            yield line


async def _line(sample: IndexedSample, store: ObjectStore, folder: Path) -> ManifestLine | None:
    try:
        labels = await store.get(sample.labels_key)
    except ObjectNotFoundError:
        return None
    await asyncio.to_thread(frozen_labels_path(sample.sha256, folder).write_bytes, labels)
    return ManifestLine(
        sha256=sample.sha256,
        split=sample.split,
        subject=sample.subject,
        image_key=sample.image_key,
        labels_key=sample.labels_key,
        labels_sha256=hashlib.sha256(labels).hexdigest(),
        revision=sample.revision,
    )


async def _write_once(key: str, manifest: bytes, store: ObjectStore) -> bool:
    """Whether the object has exactly these bytes: written by this call, or by the same run before a crash."""
    return await store.put_if_absent(key, manifest, media_type="application/jsonl") or await store.get(key) == manifest
