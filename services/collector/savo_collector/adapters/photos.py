"""Photos of scans in the object store, read and decoded upright."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

import cv2

from savo_collector.errors import RejectedError
from savo_collector.ports import Photo
from savo_contracts.documents import EXTENSIONS
from savo_contracts.envelope import ImageRef
from savo_contracts.samples import RejectionReason
from savo_detection.errors import PhotoError
from savo_detection.photos.decoding import PhotoFacts, Pixels, decode, probe
from savo_detection.photos.quality import MEASURED_SIDE
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore

__all__ = ["StoredPhotos"]

_JPEG_QUALITY = 95


@dataclass(frozen=True)
class StoredPhotos:
    """Implements `PhotoStore`."""

    store: ObjectStore

    async def read(self, image: ImageRef) -> Photo:
        try:
            data = await self.store.get(image.key)
        except ObjectNotFoundError as error:
            raise RejectedError(RejectionReason.UNREADABLE, "the photo is no longer in the object store") from error
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise RejectedError(RejectionReason.UNREADABLE, "the stored photo's sha256 is not the confirmed photo's")
        try:
            return await asyncio.to_thread(_upright, data, image.sha256)
        except PhotoError as error:
            raise RejectedError(RejectionReason.UNREADABLE, str(error)) from error


def _upright(data: bytes, sha256: str) -> Photo:
    facts = probe(data)
    if facts.media_type not in EXTENSIONS:
        raise RejectedError(
            RejectionReason.UNREADABLE, f"unsupported type {facts.media_type}; allowed: {', '.join(EXTENSIONS)}"
        )
    if facts.orientation == 1:
        return Photo(sha256, data, facts.media_type, facts.width, facts.height, decode(data, target_side=MEASURED_SIDE))
    return _encoded(decode(data), facts)


def _encoded(pixels: Pixels, facts: PhotoFacts) -> Photo:
    """The upright pixels in the photo's own format: boxes refer to them, and a label file has no orientation."""
    options = {
        "image/jpeg": [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
        "image/webp": [cv2.IMWRITE_WEBP_QUALITY, _JPEG_QUALITY],
    }
    done, encoded = cv2.imencode(
        f".{EXTENSIONS[facts.media_type]}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options.get(facts.media_type, [])
    )
    assert done, "cv2 writes every format that is in EXTENSIONS"
    data = encoded.tobytes()
    return Photo(hashlib.sha256(data).hexdigest(), data, facts.media_type, facts.width, facts.height, pixels)
