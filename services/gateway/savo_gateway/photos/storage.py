"""Photos in the object store: use cases that store an upload and read a scan's photo."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from savo_gateway.errors import PhotoGoneError, UploadRefusedError
from savo_gateway.photos.uploads import Photo, UploadLimits, prepare
from savo_gateway.ports import Photos, RefusedUploads
from savo_gateway.scans.records import Scan
from savo_runtime.storage.port import ObjectNotFoundError

__all__ = ["ReadPhoto", "StorePhoto"]


@dataclass(frozen=True)
class StorePhoto:
    """Checks a photo, removes its metadata and stores it under its hash. Refusals are counted by reason."""

    photos: Photos
    limits: UploadLimits
    refused: RefusedUploads
    decode_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))
    """Photos that are decoded at the same time: each takes a core and memory."""

    async def __call__(self, data: bytes) -> Photo:
        """Raises `UploadRefusedError`."""
        photo = await self.check(data)
        await self.put(photo)
        return photo

    async def check(self, data: bytes) -> Photo:
        """The photo as it will be stored. Raises `UploadRefusedError`."""
        try:
            async with self.decode_slots:
                photo = await asyncio.to_thread(prepare, data, self.limits)
        except UploadRefusedError as refusal:
            await self.refused.count_refused_upload(refusal.reason.value)
            raise
        return photo

    async def put(self, photo: Photo) -> None:
        await self.photos.put_if_absent(photo.ref.key, photo.data, media_type=photo.media_type)


@dataclass(frozen=True)
class ReadPhoto:
    """Reads a scan's photo as it is stored: without metadata, a HEIC as JPEG."""

    photos: Photos

    async def __call__(self, scan: Scan) -> bytes:
        """Raises `PhotoGoneError`."""
        try:
            return await self.photos.get(scan.image.key)
        except ObjectNotFoundError as error:
            raise PhotoGoneError(scan.scan_id) from error
