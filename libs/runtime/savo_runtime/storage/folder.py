"""Objects as files under a folder: for one machine. Several processes may share it, and its limit: what is used stands in
a file of the store's own, which each write adds to, and which is counted anew by listing the folder once a minute, and before anything is refused.

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
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import ParamSpec, TypeVar

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
_DOUBT_SECONDS = 5.0
"""How old a count may be to refuse by it."""
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
            await asyncio.to_thread(self._show_room)
        except PermissionError as error:
            raise FatalError(f"SAVO_DATA_DIR: no right to write in {self._root}: {error.strerror}") from error
        except OSError as error:
            raise DependencyDownError(DEPENDENCY, str(error)) from error

    async def close(self) -> None:
        return None

    @_in_thread
    def _put(self, key: str, data: bytes) -> ObjectInfo:
        with self._written(key, [data], len(data)) as fresh, self._locked(key):
            self._take_the_place(fresh, key)
        return ObjectInfo(key, len(data), _etag(data))

    @_in_thread
    def _put_if_absent(self, key: str, data: bytes) -> bool:
        if self._path(key).exists():
            return False
        with self._written(key, [data], len(data)) as fresh:
            is_ours = _linked(fresh, self._path(key))
        if not is_ours:
            self._account(-len(data))
        return is_ours

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
                self._take_the_place(fresh, key)
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
                self._take_the_place(fresh, key)
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
        start = self._root / prefix.rpartition("/")[0]
        if ".." in prefix.split("/") or not start.is_dir():
            return []
        keys = (path.relative_to(self._root).as_posix() for path in start.rglob("*") if path.is_file())
        return sorted((key for key in keys if key.startswith(prefix) and not key.startswith(RESERVED)), key=str.encode)

    @contextlib.contextmanager
    def _written(self, key: str, chunks: Iterable[bytes], size: int) -> Iterator[Path]:
        """A flushed file with the content, still without its name; gone afterwards unless it was given one."""
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

    def _take_the_place(self, fresh: Path, key: str) -> None:
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
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, also by a crash
            yield

    def _reserve(self, size: int) -> None:
        """Before anything is written, so that several that write at once do not all take the same room. Raises `StorageFullError`."""
        if self._limit is None:
            return
        with self._room() as room:
            age = abs(time.time() - room.counted_at)
            if age > _RECOUNT_SECONDS or (room.used + size > self._limit and age > _DOUBT_SECONDS):
                room.used, room.counted_at = _bytes_under(self._root), time.time()
            if room.used + size > self._limit:
                raise StorageFullError(
                    f"SAVO_STORAGE_LIMIT_GB is reached: {room.used:,} of {self._limit:,} bytes are used, {size:,} more are wanted"
                )
            room.used += size

    def _account(self, change: int) -> None:
        if self._limit is not None:
            with self._room() as room:
                room.used = max(0, room.used + change)

    def _show_room(self) -> None:
        """What everybody who shares the folder has taken by now."""
        if self._limit is not None:
            with self._room():
                pass

    @contextlib.contextmanager
    def _room(self) -> Iterator[_Room]:
        """What is used, alone with it, and noted afterwards. Not flushed: after a crash of the machine it is counted anew within a minute."""
        assert self._limit is not None
        with (self._own / "used").open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, also by a crash
            file.seek(0)
            before = file.read()
            room = _Room.of(before)
            if room is None:
                room = _Room(_bytes_under(self._root), time.time())
            try:
                yield room
            finally:
                if (after := room.written()) != before:
                    file.truncate(0)
                    file.write(after)
                STORAGE_USED.labels("folder").set(room.used)
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


@dataclass
class _Room:
    used: int
    """Bytes."""
    counted_at: float
    """When the folder was listed last, by the clock on the wall, which all processes share."""

    @classmethod
    def of(cls, text: bytes) -> _Room | None:
        used, _, counted_at = text.decode(errors="replace").partition(" ")
        try:
            return cls(int(used), float(counted_at))
        except ValueError:
            return None

    def written(self) -> bytes:
        return f"{self.used} {self.counted_at}".encode()


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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
    """Objects, and what is being written; not the file that this sum goes into."""
    found = 0
    for folder, _, names in os.walk(root):
        for path in (Path(folder) / name for name in names):
            with contextlib.suppress(FileNotFoundError):
                found += path.stat().st_size if path != root / RESERVED / "used" else 0
    return found


def _sweep(folder: Path) -> None:
    """What a crash left half-written, long enough ago that nobody is writing it."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                path.unlink()
