"""Objects as files under a folder: for one machine. Several processes may share it.

A write goes to a file of its own, is flushed, and gets its name in one step; changes of one key are serialised by a file lock.
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
from io import BufferedReader
from pathlib import Path
from typing import ParamSpec, TypeVar

from savo_runtime.errors import DependencyDownError, FatalError
from savo_runtime.storage.keys import RESERVED, valid_key
from savo_runtime.storage.port import ObjectConflictError, ObjectInfo, ObjectNotFoundError, StorageFullError
from savo_runtime.telemetry.metrics import STORAGE_LIMIT, STORAGE_USED

__all__ = ["FolderStore"]

DEPENDENCY = "object-store"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CHUNK = 1 << 20
_LOCKS = 256
_RECOUNT_SECONDS = 60.0
_LEFTOVER_SECONDS = 86_400.0

P = ParamSpec("P")
R = TypeVar("R")


def _in_thread(function: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    """Run off the loop, with the operating system's errors in the port's words."""

    @functools.wraps(function)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await asyncio.to_thread(function, *args, **kwargs)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise StorageFullError(f"the object folder has no room: {error.strerror}") from error
            raise DependencyDownError(DEPENDENCY, str(error)) from error

    return run


class FolderStore:
    """`root` is made when it is missing. `limit_bytes` bounds the sum of all objects."""

    def __init__(self, root: Path, *, limit_bytes: int | None = None) -> None:
        self._root = root
        self._own = root / RESERVED
        self._limit = limit_bytes
        self._counted_at = float("-inf")
        self._used = 0
        self._swept = False

    async def put(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        return await self._put(valid_key(key), data)

    async def put_if_absent(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> bool:
        return await self._put_if_absent(valid_key(key), data)

    async def replace(self, key: str, data: bytes, *, expected_etag: str | None, media_type: str = "application/octet-stream") -> ObjectInfo:
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
        except PermissionError as error:
            raise FatalError(f"SAVO_DATA_DIR: no right to write in {self._root}: {error.strerror}") from error
        except OSError as error:
            raise DependencyDownError(DEPENDENCY, str(error)) from error

    async def close(self) -> None:
        return None

    @_in_thread
    def _put(self, key: str, data: bytes) -> ObjectInfo:
        with self._written(key, [data], len(data)) as fresh, self._locked(key):
            fresh.replace(self._path(key))
        return ObjectInfo(key, len(data), _etag(data))

    @_in_thread
    def _put_if_absent(self, key: str, data: bytes) -> bool:
        if self._path(key).exists():
            return False
        with self._written(key, [data], len(data)) as fresh:
            return _linked(fresh, self._path(key))

    @_in_thread
    def _replace(self, key: str, data: bytes, expected: str | None) -> ObjectInfo:
        path = self._path(key)
        with self._written(key, [data], len(data)) as fresh, self._locked(key):
            if expected is None:
                if not _linked(fresh, path):
                    raise ObjectConflictError(key)
            elif not path.exists() or _file_etag(path) != expected:
                raise ObjectConflictError(key)
            else:
                fresh.replace(path)
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
            info = ObjectInfo(key, size, _file_etag(fresh))
            with self._locked(key):
                fresh.replace(self._path(key))
        return info

    @_in_thread
    def _download(self, key: str, path: Path) -> ObjectInfo:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with self._opened(key) as source, fresh.open("xb") as target:
                shutil.copyfileobj(source, target, _CHUNK)
            info = ObjectInfo(key, fresh.stat().st_size, _file_etag(fresh))
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        return info

    @_in_thread
    def _delete(self, key: str) -> None:
        with self._locked(key), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._path(key).unlink()

    @_in_thread
    def _keys(self, prefix: str) -> Sequence[str]:
        start = self._root / prefix.rpartition("/")[0]
        if ".." in prefix.split("/") or not start.is_dir():
            return []
        keys = (path.relative_to(self._root).as_posix() for path in start.rglob("*") if path.is_file())
        return sorted((key for key in keys if key.startswith(prefix) and not key.startswith(RESERVED)), key=str.encode)

    @contextlib.contextmanager
    def _written(self, key: str, chunks: Iterable[bytes], size: int) -> Iterator[Path]:
        """A flushed file with the content, still without its name; gone afterwards unless it was given one."""
        self._prepare()
        self._make_room(size)
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
        finally:
            fresh.unlink(missing_ok=True)
        self._used += size
        self._show_room()

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        self._prepare()
        slot = int(hashlib.sha256(key.encode()).hexdigest(), 16) % _LOCKS
        with (self._own / "locks" / f"{slot:02x}").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, also by a crash
            yield

    def _make_room(self, size: int) -> None:
        if self._limit is None:
            return
        if self._used + size > self._limit or time.monotonic() - self._counted_at > _RECOUNT_SECONDS:
            self._used, self._counted_at = _bytes_under(self._root), time.monotonic()
        if self._used + size > self._limit:
            raise StorageFullError(f"SAVO_STORAGE_LIMIT_GB is reached: {self._used:,} of {self._limit:,} bytes are used, {size:,} more are wanted")

    def _show_room(self) -> None:
        if self._limit is not None:
            STORAGE_USED.labels("folder").set(self._used)
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
        return self._root / key


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _file_etag(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _linked(fresh: Path, path: Path) -> bool:
    """Give the file its name unless the name is taken: one step, decided by the file system."""
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
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def _sweep(folder: Path) -> None:
    """What a crash left half-written, long enough ago that nobody is writing it."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                path.unlink()
