"""Folder store: objects as files under a folder, for a single machine.

Several processes may share the folder and its size limit. A file of the store holds the used bytes, to which each write
adds. They are recounted by listing the folder once a minute, and before a write is refused.

A write goes to a temporary file, is flushed, and is renamed in one step. A file lock serialises the changes of a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from savo_runtime.errors import DependencyDownError, FatalError
from savo_runtime.storage.digests import file_sha256
from savo_runtime.storage.keys import RESERVED, valid_key
from savo_runtime.storage.port import ObjectConflictError, ObjectInfo, ObjectNotFoundError, StorageFullError
from savo_runtime.telemetry.metrics import STORAGE_LIMIT, STORAGE_USED

__all__ = ["FolderStore"]

DEPENDENCY = "object-store"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CHUNK = 1 << 20
_LOCKS = 256
_RECOUNT_SECONDS = 60.0
_MAX_COUNT_AGE = 5.0
"""Seconds. A write is refused only by a count that is not older."""
_LEFTOVER_SECONDS = 86_400.0
"""Age at which a temporary file is removed."""

P = ParamSpec("P")
R = TypeVar("R")


def _in_thread(
    function: Callable[Concatenate[FolderStore, P], R],
) -> Callable[Concatenate[FolderStore, P], Awaitable[R]]:
    """Run the function in a thread and raise the port's errors for those of the operating system."""

    @functools.wraps(function)
    async def run(store: FolderStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await asyncio.to_thread(function, store, *args, **kwargs)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise StorageFullError(
                    f"{store.root}: the disk is full ({error.strerror}): free space or move SAVO_DATA_DIR"
                ) from error
            raise DependencyDownError(DEPENDENCY, f"folder {store.root}: {error}") from error

    return run


class FolderStore:
    """An `ObjectStore` in the folder `root`, which is created when missing.

    `limit_bytes` limits the sum of all objects.
    """

    def __init__(self, root: Path, *, limit_bytes: int | None = None) -> None:
        self.root = root
        self._own = root / RESERVED
        self._limit = limit_bytes
        self._swept = False

    async def put(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        return await self._put(valid_key(key), data)

    async def put_if_absent(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> bool:
        return await self._put_if_absent(valid_key(key), data)

    async def replace(
        self, key: str, data: bytes, *, expected_etag: str | None, media_type: str = "application/octet-stream"
    ) -> ObjectInfo:
        return await self._replace(valid_key(key), data, expected_etag)

    async def get(self, key: str) -> bytes:
        return await self._get(valid_key(key))

    async def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        data = await self.get(key)
        return data, ObjectInfo(key, len(data), _etag(data))

    async def head(self, key: str) -> ObjectInfo | None:
        return await self._head(valid_key(key))

    async def upload(self, key: str, path: Path, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        return await self._upload(valid_key(key), path)

    async def download(self, key: str, path: Path) -> ObjectInfo:
        return await self._download(valid_key(key), path)

    async def delete(self, key: str) -> None:
        await self._delete(valid_key(key))

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        for key in await self._keys(prefix):
            if info := await self._head(key):
                yield info

    async def check(self) -> None:
        try:
            await asyncio.to_thread(self._prepare)
            await asyncio.to_thread(self._export_usage)
        except PermissionError as error:
            raise FatalError(
                f"SAVO_DATA_DIR: this user may not write in {self.root}: {error.strerror}."
                " Change the folder's owner or set another folder"
            ) from error
        except OSError as error:
            raise DependencyDownError(DEPENDENCY, f"folder {self.root}: {error}") from error

    async def close(self) -> None:
        return None

    @_in_thread
    def _put(self, key: str, data: bytes) -> ObjectInfo:
        with self._written(key, [data], len(data)) as fresh, self._locked(key):
            self._move_into_place(fresh, key)
        return ObjectInfo(key, len(data), _etag(data))

    @_in_thread
    def _put_if_absent(self, key: str, data: bytes) -> bool:
        if self._path(key).exists():
            return False
        with self._written(key, [data], len(data)) as fresh:
            is_linked = _linked(fresh, self._path(key))
        if not is_linked:
            self._account(-len(data))
        return is_linked

    @_in_thread
    def _replace(self, key: str, data: bytes, expected: str | None) -> ObjectInfo:
        path = self._path(key)
        with self._written(key, [data], len(data)) as fresh, self._locked(key):
            if expected is None:
                if not _linked(fresh, path):
                    raise ObjectConflictError(key)
            elif not path.exists() or file_sha256(path) != expected:
                raise ObjectConflictError(key)
            else:
                self._move_into_place(fresh, key)
        return ObjectInfo(key, len(data), _etag(data))

    @_in_thread
    def _get(self, key: str) -> bytes:
        with self._opened(key) as file:
            return file.read()

    @_in_thread
    def _head(self, key: str) -> ObjectInfo | None:
        try:
            with self._opened(key) as file:
                return ObjectInfo(key, os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())
        except ObjectNotFoundError:
            return None

    @_in_thread
    def _upload(self, key: str, path: Path) -> ObjectInfo:
        size = path.stat().st_size
        with path.open("rb") as source, self._written(key, iter(lambda: source.read(_CHUNK), b""), size) as fresh:
            info = ObjectInfo(key, size, file_sha256(fresh))
            with self._locked(key):
                self._move_into_place(fresh, key)
        return info

    @_in_thread
    def _download(self, key: str, path: Path) -> ObjectInfo:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with self._opened(key) as source, fresh.open("xb") as target:
                shutil.copyfileobj(source, target, _CHUNK)
            info = ObjectInfo(key, fresh.stat().st_size, file_sha256(fresh))
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        return info

    @_in_thread
    def _delete(self, key: str) -> None:
        with self._locked(key), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            size = self._path(key).stat().st_size
            self._path(key).unlink()
            self._account(-size)

    @_in_thread
    def _keys(self, prefix: str) -> Sequence[str]:
        start = self.root / prefix.rpartition("/")[0]
        if ".." in prefix.split("/") or not start.is_dir():
            return []
        keys = (path.relative_to(self.root).as_posix() for path in start.rglob("*") if path.is_file())
        return sorted((key for key in keys if key.startswith(prefix) and not key.startswith(RESERVED)), key=str.encode)

    @contextlib.contextmanager
    def _written(self, key: str, chunks: Iterable[bytes], size: int) -> Iterator[Path]:
        """A flushed temporary file with the content; removed at the end unless it was renamed."""
        self._prepare()
        self._reserve(size)
        fresh = self._own / "new" / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            with fresh.open("xb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            folder = self._path(key).parent
            folder.mkdir(parents=True, exist_ok=True)
            yield fresh
            _flush_folder(folder)
        except BaseException:
            self._account(-size)
            raise
        finally:
            fresh.unlink(missing_ok=True)

    def _move_into_place(self, fresh: Path, key: str) -> None:
        path = self._path(key)
        replaced = path.stat().st_size if path.exists() else 0
        fresh.replace(path)
        if replaced:
            self._account(-replaced)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        self._prepare()
        slot = int(hashlib.sha256(key.encode()).hexdigest(), 16) % _LOCKS
        with (self._own / "locks" / f"{slot:02x}").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, also after a crash
            yield

    def _reserve(self, size: int) -> None:
        """Count `size` before it is written, so that concurrent writers cannot exceed the limit together.

        Raises `StorageFullError`.
        """
        if self._limit is None:
            return
        with self._usage() as usage:
            age = abs(time.time() - usage.counted_at)
            if age > _RECOUNT_SECONDS or (usage.used + size > self._limit and age > _MAX_COUNT_AGE):
                usage.used, usage.counted_at = _bytes_under(self.root), time.time()
            if usage.used + size > self._limit:
                raise StorageFullError(
                    f"SAVO_STORAGE_LIMIT_GB is reached: {usage.used:,} of {self._limit:,} bytes are used,"
                    f" {size:,} more are needed"
                )
            usage.used += size

    def _account(self, change: int) -> None:
        if self._limit is not None:
            with self._usage() as usage:
                usage.used = max(0, usage.used + change)

    def _export_usage(self) -> None:
        """Set the metrics to the usage of all processes that share the folder."""
        if self._limit is not None:
            with self._usage():
                pass

    @contextlib.contextmanager
    def _usage(self) -> Iterator[_Usage]:
        """The usage, under a lock, saved at the end.

        The file is not flushed: after a crash of the machine, the bytes are recounted within a minute.
        """
        assert self._limit is not None
        with (self._own / "used").open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed, also after a crash
            file.seek(0)
            before = file.read()
            usage = _Usage.parse(before)
            if usage is None:
                usage = _Usage(_bytes_under(self.root), time.time())
            try:
                yield usage
            finally:
                if (after := usage.dump()) != before:
                    file.truncate(0)
                    file.write(after)
                STORAGE_USED.labels("folder").set(usage.used)
                STORAGE_LIMIT.labels("folder").set(self._limit)

    def _prepare(self) -> None:
        (self._own / "locks").mkdir(parents=True, exist_ok=True)
        new = self._own / "new"
        if not new.is_dir():
            new.mkdir(exist_ok=True)
        elif not self._swept:
            self._swept = True
            _sweep(new)

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator[BufferedReader]:
        try:
            file = self._path(key).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectNotFoundError(key) from None
        with file:
            yield file

    def _path(self, key: str) -> Path:
        return self.root / key


@dataclass
class _Usage:
    used: int
    """Bytes."""
    counted_at: float
    """Time of the last recount, in seconds since 1970, which all processes share."""

    @classmethod
    def parse(cls, text: bytes) -> _Usage | None:
        used, _, counted_at = text.decode(errors="replace").partition(" ")
        try:
            return cls(int(used), float(counted_at))
        except ValueError:
            return None

    def dump(self) -> bytes:
        return f"{self.used} {self.counted_at}".encode()


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _linked(fresh: Path, path: Path) -> bool:
    """Link the file to `path` unless that exists; returns whether it was linked. The file system decides atomically."""
    try:
        path.hardlink_to(fresh)
    except FileExistsError:
        return False
    return True


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _bytes_under(root: Path) -> int:
    """Sum of all files, including temporary ones, without the file that stores the sum."""
    total = 0
    for folder, _, names in os.walk(root):
        for path in (Path(folder) / name for name in names):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size if path != root / RESERVED / "used" else 0
    return total


def _sweep(folder: Path) -> None:
    """Remove temporary files that a crash left behind; a day later no process writes them."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                path.unlink()
