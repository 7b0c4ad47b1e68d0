"""Removal of a data set version: its files, and the label files that no other version needs.

Its description stays as a mark, so that the number is never used again. An interrupted removal is repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from savo_contracts.documents import (
    DatasetVersion,
    ManifestLine,
    dataset_classes_key,
    dataset_version_key,
    manifest_key,
)
from savo_runtime.storage.digests import file_sha256
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore
from savo_trainer.errors import VersionInUseError
from savo_trainer.lease_renewal import lease_held
from savo_trainer.ports import FrozenLabels, Lease, RunStore
from savo_trainer.versions.catalogue import StoredVersion, count_samples, stored_version, stored_versions
from savo_trainer.versions.manifest import ManifestFile, fetch_manifest, has_frozen_labels, line_pages

__all__ = ["DatasetRemoval"]

_NEWEST_RUNS = 1000


@dataclass(frozen=True)
class DatasetRemoval:
    """Removes data set versions. No version is frozen at the same time."""

    labels: FrozenLabels
    runs: RunStore
    store: ObjectStore
    lease: Lease
    clock: Callable[[], datetime]

    async def __call__(self, name: str, folder: Path) -> int:
        """Remove the version and return how many label files no other version had. `folder`: for manifests.

        Raises `UnknownVersionError`, `VersionInUseError` with the models and runs, `LeaseLostError`.
        """
        async with lease_held(self.lease):
            version = await stored_version(name, self.store)
            await self._require_unused(version)
            manifest = await self._manifest(name, folder)
            await self._mark_removed(version, manifest)
            released = await self._release_labels(name, manifest, folder) if manifest else 0
            for key in (dataset_classes_key(name), manifest_key(name)):
                await self.store.delete(key)
        return released

    async def _require_unused(self, version: StoredVersion) -> None:
        runs = await self.runs.newest(_NEWEST_RUNS)
        open_runs = [run.id for run in runs if run.is_open and run.facts.dataset_version == version.name]
        if users := [*(f"model {model}" for model in version.models), *open_runs]:
            raise VersionInUseError(version.name, users)

    async def _manifest(self, name: str, folder: Path) -> ManifestFile | None:
        try:
            return await fetch_manifest(name, self.store, folder / name)
        except ObjectNotFoundError:
            return None

    async def _mark_removed(self, version: StoredVersion, manifest: ManifestFile | None) -> None:
        description = version.description
        if description is None:
            description = await asyncio.to_thread(self._description, version.name, manifest)
        marked = description.model_copy(update={"removed_at": description.removed_at or self.clock()})
        content = marked.model_dump_json(indent=1).encode()
        await self.store.put(dataset_version_key(version.name), content, media_type="application/json")

    def _description(self, name: str, manifest: ManifestFile | None) -> DatasetVersion:
        """Of a version of an earlier release."""
        assert manifest is not None, "a version has a description or a manifest"
        digest, samples = file_sha256(manifest.path), count_samples(manifest)
        return DatasetVersion(version=name, manifest_sha256=digest, samples=samples, boxes={}, frozen_at=self.clock())

    async def _release_labels(self, name: str, manifest: ManifestFile, folder: Path) -> int:
        await self.labels.complete()
        await self.labels.forget_version(name)
        others = [version.name for version in await stored_versions(self.store) if version.name != name]
        manifests = [found for other in others if (found := await self._manifest(other, folder))]
        released = 0
        async for page in line_pages(_unshared(manifest, manifests)):
            await self.labels.release([(line.labels_sha256, line.sha256) for line in page])
            released += len(page)
        return released


def _unshared(manifest: Iterable[ManifestLine], others: Sequence[Iterable[ManifestLine]]) -> Iterator[ManifestLine]:
    """The lines whose label files no other manifest has for the same sample. All are ordered by sha256."""
    rows = [iter(other) for other in others]
    heads = [next(row, None) for row in rows]
    for line in manifest:
        is_shared = False
        for index, row in enumerate(rows):
            while (head := heads[index]) is not None and head.sha256 < line.sha256:
                heads[index] = next(row, None)
            is_shared |= head is not None and (head.sha256, head.labels_key) == (line.sha256, line.labels_key)
        if not is_shared and has_frozen_labels(line):
            yield line
