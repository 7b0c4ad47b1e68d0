"""The object store as the product sees it. One behaviour suite proves every adapter.

Keys are slash-separated, relative, at most 1,024 bytes. Objects are small enough for memory unless streamed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["ObjectConflictError", "ObjectInfo", "ObjectNotFoundError", "ObjectStore", "StorageFullError"]


class ObjectNotFoundError(LookupError):
    """There is no object under the key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key!r}")
        self.key = key


class ObjectConflictError(Exception):
    """Somebody else changed the object since it was read: read again and decide anew."""

    def __init__(self, key: str) -> None:
        super().__init__(f"object {key!r} changed in the meantime")
        self.key = key


class StorageFullError(Exception):
    """No room: the disk is full or the configured limit is reached. Nothing was half-written."""


@dataclass(frozen=True)
class ObjectInfo:
    key: str
    size: int
    """Bytes."""
    etag: str
    """Opaque; changes with the content."""


class ObjectStore(Protocol):
    """Raises `DependencyDownError("object-store", …)` when the store cannot be reached, `StorageFullError` when it has no room."""

    async def put(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        """Write, whatever is there; whole or not at all."""
        ...

    async def put_if_absent(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> bool:
        """Write unless the key is taken (`If-None-Match: *`). True when this call wrote it."""
        ...

    async def replace(
        self, key: str, data: bytes, *, expected_etag: str | None, media_type: str = "application/octet-stream"
    ) -> ObjectInfo:
        """Compare and swap: `expected_etag` from `read`, None when the key must be new. Raises `ObjectConflictError`."""
        ...

    async def get(self, key: str) -> bytes:
        """Raises `ObjectNotFoundError`."""
        ...

    async def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Bytes with their etag, for `replace`. Raises `ObjectNotFoundError`."""
        ...

    async def head(self, key: str) -> ObjectInfo | None: ...

    async def upload(self, key: str, path: Path, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        """Stream a file in; memory stays flat."""
        ...

    async def download(self, key: str, path: Path) -> ObjectInfo:
        """Stream to a file, which appears whole or not at all. Raises `ObjectNotFoundError`."""
        ...

    async def delete(self, key: str) -> None:
        """Deleting what is not there is no error."""
        ...

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Page by page, in key order. For tools; a service keeps its index in its database."""
        ...

    async def check(self) -> None:
        """One cheap round trip. Raises `DependencyDownError`, or `FatalError` for wrong credentials or a missing bucket."""
        ...

    async def close(self) -> None: ...
