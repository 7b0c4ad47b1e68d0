"""Traced store: an object store that makes a span of each call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.trace import Span, SpanKind

from savo_runtime.storage.port import ObjectInfo, ObjectStore
from savo_runtime.telemetry.spans import step

__all__ = ["TracedStore"]


@dataclass(frozen=True)
class TracedStore:
    """An `ObjectStore` that traces the calls of `inner`.

    Keys are hashes and versions, so spans hold no personal data.
    """

    inner: ObjectStore

    async def put(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        with _step("put", key, len(data)):
            return await self.inner.put(key, data, media_type=media_type)

    async def put_if_absent(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> bool:
        with _step("put", key, len(data)):
            return await self.inner.put_if_absent(key, data, media_type=media_type)

    async def replace(
        self, key: str, data: bytes, *, expected_etag: str | None, media_type: str = "application/octet-stream"
    ) -> ObjectInfo:
        with _step("replace", key, len(data)):
            return await self.inner.replace(key, data, expected_etag=expected_etag, media_type=media_type)

    async def get(self, key: str) -> bytes:
        with _step("get", key) as span:
            data = await self.inner.get(key)
            span.set_attribute("savo.object.bytes", len(data))
            return data

    async def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        with _step("get", key) as span:
            data, info = await self.inner.read(key)
            span.set_attribute("savo.object.bytes", len(data))
            return data, info

    async def head(self, key: str) -> ObjectInfo | None:
        with _step("head", key):
            return await self.inner.head(key)

    async def upload(self, key: str, path: Path, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        with _step("upload", key):
            return await self.inner.upload(key, path, media_type=media_type)

    async def download(self, key: str, path: Path) -> ObjectInfo:
        with _step("download", key):
            return await self.inner.download(key, path)

    async def delete(self, key: str) -> None:
        with _step("delete", key):
            await self.inner.delete(key)

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        return self.inner.list(prefix)

    async def check(self) -> None:
        await self.inner.check()

    async def close(self) -> None:
        await self.inner.close()


def _step(operation: str, key: str, size: int | None = None) -> AbstractContextManager[Span]:
    attributes = {} if size is None else {"savo.object.bytes": size}
    return step(f"object store {operation}", kind=SpanKind.CLIENT, attributes={"savo.object.key": key, **attributes})
