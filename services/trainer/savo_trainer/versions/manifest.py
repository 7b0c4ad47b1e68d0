"""Manifest of a data set version in a local file: one line for each sample, ordered by sha256, read one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from savo_contracts.documents import ManifestLine, frozen_labels_key, manifest_key
from savo_contracts.samples import Split
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore

__all__ = ["PAGE", "ManifestFile", "fetch_manifest", "has_frozen_labels", "line_pages", "write_manifest"]

PAGE = 1000
"""Lines that are in memory at a time."""


@dataclass(frozen=True)
class ManifestFile:
    """The lines of a manifest. They can be read several times."""

    path: Path
    split: Split | None = None
    """Only the lines of this split; None: all."""

    def __iter__(self) -> Iterator[ManifestLine]:
        with self.path.open("rb") as file:
            lines = map(ManifestLine.model_validate_json, file)
            yield from (line for line in lines if self.split in (None, line.split))

    def of(self, split: Split) -> ManifestFile:
        return replace(self, split=split)


async def line_pages(lines: Iterable[ManifestLine]) -> AsyncIterator[Sequence[ManifestLine]]:
    """The lines in pages, read in another thread."""
    waiting = iter(lines)
    while page := await asyncio.to_thread(lambda: list(islice(waiting, PAGE))):
        yield page


def has_frozen_labels(line: ManifestLine) -> bool:
    """Whether the version keeps the label file by content; one of an earlier release names the sample's own file."""
    return line.labels_key == frozen_labels_key(line.labels_sha256)


async def write_manifest(path: Path, lines: AsyncIterable[ManifestLine]) -> ManifestFile:
    """Write the lines to `path`, which appears when they are complete."""
    partial = path.with_name(f".{path.name}")
    await asyncio.to_thread(partial.parent.mkdir, parents=True, exist_ok=True)
    file = await asyncio.to_thread(partial.open, "wb")
    try:
        page: list[ManifestLine] = []
        async for line in lines:
            page.append(line)
            if len(page) == PAGE:
                await asyncio.to_thread(file.write, _encoded(page))
                page = []
        await asyncio.to_thread(file.write, _encoded(page))
    finally:
        await asyncio.to_thread(file.close)
    await asyncio.to_thread(partial.replace, path)
    return ManifestFile(path)


async def fetch_manifest(version: str, store: ObjectStore, folder: Path) -> ManifestFile:
    """Download the version's manifest to `folder`. Raises `ObjectNotFoundError`."""
    manifest = ManifestFile(folder / "manifest.jsonl")
    if await store.head(manifest_key(version)) is None:
        raise ObjectNotFoundError(manifest_key(version))  # before the folder is created
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    await store.download(manifest_key(version), manifest.path)
    return manifest


def _encoded(lines: Sequence[ManifestLine]) -> bytes:
    return "".join(line.model_dump_json() + "\n" for line in lines).encode()
