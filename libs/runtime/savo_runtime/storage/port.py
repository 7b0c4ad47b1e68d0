"""Port of the object store: the Protocol and errors of every adapter. One behaviour suite tests all adapters.

Keys are relative, separated by slashes, and at most 1,024 bytes long. `get`, `read` and `put` hold the object in
memory; `upload` and `download` stream it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["ObjectConflictError", "ObjectInfo", "ObjectNotFoundError", "ObjectStore", "StorageFullError"]


class ObjectNotFoundError(LookupError):
    """The store has no object with the key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key!r}")
        self.key = key


class ObjectConflictError(Exception):
    """Another writer changed the object since it was read: read it again and repeat the change."""

    def __init__(self, key: str) -> None:
        super().__init__(f"object {key!r} was changed by another writer since it was read")
        self.key = key


class StorageFullError(Exception):
    """The disk is full or the configured limit is reached. No partial object was written."""


@dataclass(frozen=True)
class ObjectInfo:
    """Key, size and etag of a stored object."""

    key: str
    size: int
    """Bytes."""
    etag: str
    """Opaque; changes with the content."""


class ObjectStore(Protocol):
    """A store of objects by key.

    Every method raises `DependencyDownError("object-store", …)` when the store cannot be reached, and methods that
    write raise `StorageFullError` when it has no room.
    """

    async def put(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        """Write atomically, replacing an existing object."""
        ...

    async def put_if_absent(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> bool:
        """Write unless the key exists (`If-None-Match: *`). True when this call wrote the object."""
        ...

    async def replace(
        self, key: str, data: bytes, *, expected_etag: str | None, media_type: str = "application/octet-stream"
    ) -> ObjectInfo:
        """Compare and swap: `expected_etag` is from `read`, or None when the key must be new.

        Raises `ObjectConflictError`.
        """
        ...

    async def get(self, key: str) -> bytes:
        """The object's bytes. Raises `ObjectNotFoundError`."""
        ...

    async def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        """The object's bytes and its info, whose etag `replace` needs. Raises `ObjectNotFoundError`."""
        ...

    async def head(self, key: str) -> ObjectInfo | None:
        """The object's info; None when it does not exist."""
        ...

    async def upload(self, key: str, path: Path, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        """Stream a file into the store; memory stays constant."""
        ...

    async def download(self, key: str, path: Path) -> ObjectInfo:
        """Stream an object to a file, which is created atomically. Raises `ObjectNotFoundError`."""
        ...

    async def delete(self, key: str) -> None:
        """Delete an object; does nothing when it does not exist."""
        ...

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """The infos of all keys with the prefix, in key order, fetched page by page.

        For tools: a service keeps its index in its database.
        """
        ...

    async def check(self) -> None:
        """A cheap round trip. Raises `DependencyDownError`; `FatalError` for wrong credentials or a missing bucket."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
