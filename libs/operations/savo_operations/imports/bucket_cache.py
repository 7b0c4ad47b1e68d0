"""Objects of a bucket as files on disk. An interrupted download continues, and a changed object is fetched again.

files/         the objects, by their keys after the prefix
etags.jsonl    the path and ETag of each complete file
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from savo_runtime.storage.concurrency import map_limited
from savo_runtime.storage.port import ObjectInfo, ObjectStore

__all__ = ["BucketCache"]


@dataclass(frozen=True)
class BucketCache:
    """A folder that an interrupted import leaves for the next one."""

    folder: Path

    @property
    def files(self) -> Path:
        """The folder of the objects."""
        return self.folder / "files"

    async def update(self, store: ObjectStore, objects: Mapping[str, ObjectInfo]) -> None:
        """Make `files` hold these objects, by path, and nothing else.

        Raises the store's errors; a repeat continues. An ETag is written after its file, and that of a stale file is
        removed before, so a kill cannot leave an old file with a new ETag.
        """
        etags = {path: info.etag for path, info in objects.items()}
        current = await asyncio.to_thread(self._remove_stale, etags)
        with self._etags.open("a", buffering=1, encoding="utf-8") as record:

            async def fetch(path: str) -> None:
                info = await store.download(objects[path].key, self.files / path)
                record.write(_line(path, info.etag))

            async for _ in map_limited([path for path in objects if path not in current], fetch):
                pass

    @property
    def _etags(self) -> Path:
        return self.folder / "etags.jsonl"

    def _remove_stale(self, etags: Mapping[str, str]) -> set[str]:
        """Remove files that are not those of the bucket; returns the paths that are left."""
        self.files.mkdir(parents=True, exist_ok=True)
        recorded = self._recorded()
        current = {path for path, etag in etags.items() if recorded.get(path) == etag and (self.files / path).is_file()}
        self._etags.write_text("".join(_line(path, etags[path]) for path in sorted(current)), encoding="utf-8")
        for path in sorted(self.files.rglob("*"), reverse=True):  # the files of a folder before the folder
            if path.is_dir():
                with contextlib.suppress(OSError):  # it is not empty
                    path.rmdir()
            elif path.relative_to(self.files).as_posix() not in current:
                path.unlink()
        return current

    def _recorded(self) -> dict[str, str]:
        """ETag by path. A line that a kill cut off is ignored."""
        recorded: dict[str, str] = {}
        if self._etags.exists():
            for line in self._etags.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, TypeError):
                    path, etag = json.loads(line)
                    recorded[path] = etag
        return recorded


def _line(path: str, etag: str) -> str:
    return json.dumps([path, etag]) + "\n"
