"""Samples in the object store: image, labels and meta of each, under its sha256."""

from __future__ import annotations

from dataclasses import dataclass

from savo_collector.ports import Photo
from savo_contracts.documents import SampleMeta, sample_image_key, sample_labels_key, sample_meta_key
from savo_contracts.envelope import ImageRef
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore

__all__ = ["SampleObjects"]


@dataclass(frozen=True)
class SampleObjects:
    """Implements `SampleStore`."""

    store: ObjectStore

    async def put_image(self, photo: Photo) -> ImageRef:
        key = sample_image_key(photo.sha256, photo.media_type)
        await self.store.put_if_absent(key, photo.data, media_type=photo.media_type)
        return ImageRef(
            key=key,
            sha256=photo.sha256,
            bytes=len(photo.data),
            width=photo.width,
            height=photo.height,
            media_type=photo.media_type,
        )

    async def put_labels(self, sha256: str, lines: str) -> None:
        await self.store.put(sample_labels_key(sha256), lines.encode(), media_type="text/plain")

    async def put_meta(self, meta: SampleMeta) -> None:
        await self.store.put(
            sample_meta_key(meta.sha256), meta.model_dump_json(indent=1).encode(), media_type="application/json"
        )

    async def meta(self, sha256: str) -> SampleMeta | None:
        try:
            return SampleMeta.model_validate_json(await self.store.get(sample_meta_key(sha256)))
        except ObjectNotFoundError:
            return None

    async def remove(self, sha256: str, media_type: str) -> None:
        for key in (sample_meta_key(sha256), sample_labels_key(sha256), sample_image_key(sha256, media_type)):
            await self.store.delete(key)
