"""Photos of scans in the object store."""

from __future__ import annotations

from dataclasses import dataclass

from savo_contracts.envelope import ImageRef
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore


@dataclass(frozen=True)
class StoredPhotos:
    """Port: `savo_vision.ports.PhotoStore`."""

    store: ObjectStore

    async def read(self, image: ImageRef) -> bytes | None:
        try:
            return await self.store.get(image.key)
        except ObjectNotFoundError:
            return None
