"""Sandbox store: reads the live objects, and writes under a prefix of its own, so that no live object changes.

read    sandbox/<name>/KEY, else KEY, unless the sandbox deleted it
write   sandbox/<name>/KEY
delete  sandbox/<name>/KEY, and a marker under sandbox/<name>/.deleted/KEY
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from savo_runtime.storage.port import ObjectConflictError, ObjectInfo, ObjectNotFoundError, ObjectStore

__all__ = ["SandboxStore"]


class SandboxStore:
    """An `ObjectStore` of the sandbox, on top of the live store."""

    def __init__(self, live: ObjectStore, sandbox: str) -> None:
        self._store = live
        self._prefix = f"sandbox/{sandbox}/"

    async def put(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        return replace(await self._store.put(self._own(key), data, media_type=media_type), key=key)

    async def put_if_absent(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> bool:
        if await self._is_live(key):
            return False
        return await self._store.put_if_absent(self._own(key), data, media_type=media_type)

    async def replace(
        self, key: str, data: bytes, *, expected_etag: str | None, media_type: str = "application/octet-stream"
    ) -> ObjectInfo:
        own_etag = expected_etag
        if await self._store.head(self._own(key)) is None:
            live = await self.head(key)
            if (live.etag if live else None) != expected_etag:
                raise ObjectConflictError(key)
            own_etag = None  # the first change of a live object creates the sandbox's copy
        try:
            return replace(
                await self._store.replace(self._own(key), data, expected_etag=own_etag, media_type=media_type), key=key
            )
        except ObjectConflictError:
            raise ObjectConflictError(key) from None

    async def get(self, key: str) -> bytes:
        return (await self.read(key))[0]

    async def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        try:
            data, info = await self._store.read(await self._source_key(key))
        except ObjectNotFoundError:
            raise ObjectNotFoundError(key) from None
        return data, replace(info, key=key)

    async def head(self, key: str) -> ObjectInfo | None:
        info = await self._store.head(await self._source_key(key))
        return replace(info, key=key) if info else None

    async def upload(self, key: str, path: Path, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        return replace(await self._store.upload(self._own(key), path, media_type=media_type), key=key)

    async def download(self, key: str, path: Path) -> ObjectInfo:
        try:
            return replace(await self._store.download(await self._source_key(key), path), key=key)
        except ObjectNotFoundError:
            raise ObjectNotFoundError(key) from None

    async def delete(self, key: str) -> None:
        await self._store.put(self._marker(key), b"deleted in this sandbox")
        await self._store.delete(self._own(key))

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        own = {info.key.removeprefix(self._prefix): info async for info in self._store.list(self._own(prefix))}
        deleted = {info.key.removeprefix(self._marker("")) async for info in self._store.list(self._marker(prefix))}
        live = {
            info.key: info
            async for info in self._store.list(prefix)
            if info.key not in deleted and not info.key.startswith("sandbox/")
        }
        for key, info in sorted({**live, **own}.items(), key=lambda item: item[0].encode()):
            if not key.startswith(".deleted/"):
                yield replace(info, key=key)

    async def check(self) -> None:
        await self._store.check()

    async def close(self) -> None:
        await self._store.close()

    def _own(self, key: str) -> str:
        return self._prefix + key

    def _marker(self, key: str) -> str:
        return f"{self._prefix}.deleted/{key}"

    async def _source_key(self, key: str) -> str:
        """The key that the object is read from: the sandbox's own, or the live one."""
        if await self._store.head(self._own(key)) is not None or await self._store.head(self._marker(key)) is not None:
            return self._own(key)
        return key

    async def _is_live(self, key: str) -> bool:
        return await self._source_key(key) == key and await self._store.head(key) is not None
