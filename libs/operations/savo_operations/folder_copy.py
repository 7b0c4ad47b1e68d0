"""A copy of the folder store in a bucket, made while the product runs, and continued where it stopped.

Every object is read back from the bucket and compared by SHA-256. A journal beside the folder records each copy, so
that a repeated run transfers only what is new. Files are walked, never listed: memory does not grow with their number.

An object of the bucket that this copy did not write, and that differs, is kept: after the move, the product itself
changes aliases and erases photos there.
"""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

from savo_runtime.errors import SavoError
from savo_runtime.storage.digests import file_sha256
from savo_runtime.storage.keys import RESERVED
from savo_runtime.storage.port import ObjectInfo, ObjectNotFoundError

__all__ = ["CopyJournal", "CopyTarget", "FolderCopy", "FolderCopyReport", "UnverifiedObjectError", "count_files"]

MAX_CONCURRENT = 8
MAX_PASSES = 5
"""Passes over the folder, each for what was written during the one before it."""
MAX_ATTEMPTS = 3
"""Uploads of one object, where the file changes or the bytes arrive damaged."""

OnProgress = Callable[[int, int], None]


class CopyTarget(Protocol):
    """What the copy needs of a bucket."""

    async def head(self, key: str) -> ObjectInfo | None: ...

    async def upload(self, key: str, path: Path, *, media_type: str = "application/octet-stream") -> ObjectInfo: ...

    async def sha256(self, key: str) -> str: ...

    async def delete(self, key: str) -> None: ...


class CopyState(Enum):
    """What is to be done with a file."""

    SAME = auto()
    """The bucket has it."""
    TO_COPY = auto()
    GONE = auto()
    """It was copied, and the bucket's user has deleted it since."""
    DIFFERS = auto()
    """The bucket has another version, which this copy did not write."""


class UnverifiedObjectError(SavoError):
    """An object in the bucket differs from its file after repeated uploads."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key} does not have the same SHA-256 in the bucket after {MAX_ATTEMPTS} uploads; run it again"
        )
        self.key = key


@dataclass(frozen=True)
class CopiedObject:
    """A row of the journal: the file as it was copied, and the etag of its copy."""

    size: int
    modified_ns: int
    sha256: str
    etag: str


@dataclass
class FolderCopyReport:
    """Counts of a copy. `objects` and `bytes` were uploaded now; `verified` is the rest that the bucket holds."""

    objects: int = 0
    bytes: int = 0
    verified: int = 0
    removed: int = 0
    """Erased in the folder since an earlier run, and now in the bucket."""
    left_out: int = 0
    """Copied earlier and no longer in the bucket, such as photos that the product has erased there."""
    kept_in_bucket: list[str] = field(default_factory=list)
    """Keys of objects that differ and were not written by this copy; the first `MAX_NAMED`."""
    differing: int = 0
    passes: int = 0
    has_journal: bool = True

    MAX_NAMED = 20

    def keep(self, key: str) -> None:
        self.differing += 1
        if len(self.kept_in_bucket) < self.MAX_NAMED:
            self.kept_in_bucket.append(key)


class CopyJournal:
    """The record of copied objects, in a SQLite file. On a full disk nothing is recorded, and every object is compared.

    Use it in one thread.
    """

    def __init__(self, path: Path) -> None:
        self.is_usable = True
        self._connection: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")  # a killed process loses nothing
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS copied"
                " (key TEXT PRIMARY KEY, size INTEGER, modified_ns INTEGER, sha256 TEXT, etag TEXT) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error):
            self.is_usable = False

    def find(self, key: str) -> CopiedObject | None:
        row = self._execute("SELECT size, modified_ns, sha256, etag FROM copied WHERE key = ?", key).fetchone()
        return CopiedObject(*row) if row else None

    def record(self, key: str, copied: CopiedObject) -> None:
        values = (key, copied.size, copied.modified_ns, copied.sha256, copied.etag)
        self._execute("INSERT OR REPLACE INTO copied VALUES (?, ?, ?, ?, ?)", *values)

    def forget(self, key: str) -> None:
        self._execute("DELETE FROM copied WHERE key = ?", key)

    def recorded_keys(self) -> Iterator[str]:
        """All recorded keys in order, a page at a time, so that rows may be deleted meanwhile."""
        last = ""
        while rows := self._execute("SELECT key FROM copied WHERE key > ? ORDER BY key LIMIT 1000", last).fetchall():
            yield from (key for (key,) in rows)
            last = rows[-1][0]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        if self.is_usable and self._connection is not None:
            try:
                return self._connection.execute(statement, values)
            except sqlite3.Error:  # the disk is full
                self.is_usable = False
        return sqlite3.connect(":memory:").execute("SELECT 1 WHERE 0")


@dataclass
class FolderCopy:
    """Copies the objects of the folder `root` to `target`.

    `copies_missing`: an object that was copied earlier and is no longer in the bucket is copied again, as for a backup.
    `overwrites`: a differing object in the bucket is replaced even if this copy did not write it.
    """

    root: Path
    target: CopyTarget
    journal: CopyJournal
    copies_missing: bool = False
    overwrites: bool = False
    report: FolderCopyReport = field(default_factory=FolderCopyReport)

    async def run(self, on_progress: OnProgress = lambda _done, _total: None) -> FolderCopyReport:
        """Copy, then copy what was written meanwhile, then remove from the bucket what was erased from the folder.

        Raises what the target raises, `UnverifiedObjectError`, and `OSError` for an unreadable file.
        """
        has_new = True
        while has_new and self.report.passes < MAX_PASSES:
            has_new = await self._copy_all(on_progress)
        await self._remove_erased()
        self.report.has_journal = self.journal.is_usable
        return self.report

    async def _copy_all(self, on_progress: OnProgress) -> bool:
        """One pass over the folder. Returns whether it uploaded anything. The counts are those of the last pass."""
        report, uploaded_before = self.report, self.report.objects
        report.passes += 1
        report.verified = report.left_out = report.differing = done = 0
        report.kept_in_bucket.clear()
        total = await asyncio.to_thread(count_files, self.root)

        async def copy(path: Path) -> None:
            nonlocal done
            await self._copy_file(path)
            done += 1
            on_progress(done, max(done, total))

        await _for_each(_files(self.root), copy)
        return report.objects > uploaded_before

    async def _copy_file(self, path: Path) -> None:
        key = path.relative_to(self.root).as_posix()
        try:
            match await self._state_of(path, key):
                case CopyState.SAME:
                    self.report.verified += 1
                case CopyState.GONE:
                    self.report.left_out += 1
                case CopyState.DIFFERS:
                    self.report.keep(key)
                case CopyState.TO_COPY:
                    await self._upload(path, key)
        except FileNotFoundError:  # erased since the walk saw it
            return

    async def _state_of(self, path: Path, key: str) -> CopyState:
        file = await asyncio.to_thread(path.stat)
        known, stored = self.journal.find(key), await self.target.head(key)
        is_unchanged = known is not None and (known.size, known.modified_ns) == (file.st_size, file.st_mtime_ns)
        if stored is None:
            is_gone = is_unchanged and not (self.copies_missing or self.overwrites)
            return CopyState.GONE if is_gone else CopyState.TO_COPY
        is_own = known is not None and known.etag == stored.etag
        # Another etag: the product that now uses the bucket has changed the object. A backup has no such product.
        if is_unchanged and (is_own or not (self.copies_missing or self.overwrites)):
            return CopyState.SAME
        if await self._is_same(path, key, stored, known):
            return CopyState.SAME
        return CopyState.TO_COPY if is_own or self.overwrites else CopyState.DIFFERS

    async def _is_same(self, path: Path, key: str, stored: ObjectInfo, known: CopiedObject | None) -> bool:
        """Whether the object has the bytes of the file, which is then recorded."""
        state = await asyncio.to_thread(path.stat)
        if stored.size != state.st_size:
            return False
        local = await asyncio.to_thread(file_sha256, path)
        is_recorded = known is not None and (known.sha256, known.etag) == (local, stored.etag)
        try:
            if not is_recorded and await self.target.sha256(key) != local:
                return False
        except ObjectNotFoundError:
            return False
        self.journal.record(key, CopiedObject(state.st_size, state.st_mtime_ns, local, stored.etag))
        return True

    async def _upload(self, path: Path, key: str) -> None:
        for _ in range(MAX_ATTEMPTS):
            state = await asyncio.to_thread(path.stat)
            local = await asyncio.to_thread(file_sha256, path)
            media_type = mimetypes.guess_type(path.name, strict=False)[0] or "application/octet-stream"
            stored = await self.target.upload(key, path, media_type=media_type)
            if await self.target.sha256(key) == local:
                self.journal.record(key, CopiedObject(state.st_size, state.st_mtime_ns, local, stored.etag))
                self.report.objects += 1
                self.report.bytes += state.st_size
                return
        raise UnverifiedObjectError(key)

    async def _remove_erased(self) -> None:
        """Remove copies whose file was erased, unless the bucket's object has changed since."""
        for key in self.journal.recorded_keys():
            if await asyncio.to_thread((self.root / key).exists):
                continue
            known, stored = self.journal.find(key), await self.target.head(key)
            if known is not None and stored is not None and stored.etag == known.etag:
                await self.target.delete(key)
                self.report.removed += 1
            self.journal.forget(key)


def count_files(root: Path) -> int:
    """The number of objects in the folder."""
    return sum(1 for _ in _walk(root))


async def _files(root: Path) -> AsyncIterator[Path]:
    walk = _walk(root)
    while (path := await asyncio.to_thread(next, walk, None)) is not None:
        yield path


def _walk(folder: Path, *, is_root: bool = True) -> Iterator[Path]:
    """Every file below the folder but the store's own, in no order: `os.scandir` reads a folder page by page."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if is_root and entry.name.startswith(RESERVED):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), is_root=False)
            else:
                yield Path(entry.path)


async def _for_each(paths: AsyncIterator[Path], action: Callable[[Path], Awaitable[None]]) -> None:
    """Run the action for every path, at most `MAX_CONCURRENT` at a time. Raises the first error."""
    slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def run(path: Path) -> None:
        try:
            await action(path)
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as group:
            async for path in paths:
                await slots.acquire()
                group.create_task(run(path))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
