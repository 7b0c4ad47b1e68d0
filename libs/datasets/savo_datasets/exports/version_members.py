"""Samples of a frozen data set version, looked up in order of sha256 without holding them in memory."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from savo_contracts.documents import ManifestLine, manifest_key
from savo_runtime.storage.port import ObjectStore

__all__ = ["VersionMembers", "version_members"]


class VersionMembers:
    """The samples of a manifest, which is ordered by sha256."""

    def __init__(self, manifest: BinaryIO) -> None:
        self._lines: Iterator[bytes] = iter(manifest)
        self._current: str | None = ""

    def has(self, sha256: str) -> bool:
        """Whether the version has the sample. Ask in ascending order."""
        while self._current is not None and self._current < sha256:
            line = next(self._lines, None)
            self._current = ManifestLine.model_validate_json(line).sha256 if line else None
        return self._current == sha256


@asynccontextmanager
async def version_members(version: str | None, store: ObjectStore) -> AsyncIterator[VersionMembers | None]:
    """None without a version. Raises `ObjectNotFoundError` for one without a manifest."""
    if version is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="savo-export-") as folder:
        path = Path(folder) / "manifest.jsonl"
        await store.download(manifest_key(version), path)
        with path.open("rb") as manifest:
            yield VersionMembers(manifest)
