"""Checks of an upload: type, size and integrity. What passes is a photo without metadata, ready to store.

JPEG, PNG and WebP keep their pixels bit for bit. HEIC is converted to JPEG, because few decoders read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO

import pillow_heif

from savo_contracts.documents import scan_photo_key
from savo_contracts.envelope import ImageRef
from savo_detection.errors import AnimatedPhotoError, MalformedPhotoError, PhotoTooLargeError, UnsupportedPhotoError
from savo_detection.photos.decoding import PhotoFacts, probe
from savo_detection.photos.integrity import check_pixels, is_truncated
from savo_detection.photos.metadata import strip_metadata
from savo_gateway.errors import UploadRefusal, UploadRefusedError

__all__ = ["ALLOWED_TYPES", "Photo", "UploadLimits", "prepare"]

ALLOWED_TYPES = ("image/jpeg", "image/png", "image/webp", "image/heic")

HEIC_QUALITY = 92
"""JPEG quality of a converted HEIC. A higher quality enlarges the file, with no difference for a detector."""


@dataclass(frozen=True)
class UploadLimits:
    """Largest accepted photo, in bytes and pixels."""

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000

    def too_large(self) -> UploadRefusedError:
        megabytes = self.max_bytes / 1_000_000
        detail = f"a photo may have at most {megabytes:g} MB"
        return UploadRefusedError(UploadRefusal.TOO_LARGE, detail, limit={"bytes": self.max_bytes})

    def too_many_pixels(self, width: int, height: int) -> UploadRefusedError:
        megapixels = self.max_pixels / 1_000_000
        detail = f"the photo is {width} × {height}; at most {megapixels:g} megapixels are accepted"
        return UploadRefusedError(UploadRefusal.TOO_MANY_PIXELS, detail, limit={"pixels": self.max_pixels})


@dataclass(frozen=True)
class Photo:
    """A photo as it is stored, and the hash of what was received."""

    data: bytes
    media_type: str
    sha256: str
    upload_sha256: str
    width: int
    """Pixels, upright."""
    height: int

    @property
    def ref(self) -> ImageRef:
        key = scan_photo_key(self.sha256, self.media_type)
        return ImageRef(
            key=key,
            sha256=self.sha256,
            bytes=len(self.data),
            width=self.width,
            height=self.height,
            media_type=self.media_type,
        )


def prepare(data: bytes, limits: UploadLimits) -> Photo:
    """The photo to store. Raises `UploadRefusedError`. It decodes the photo, so run it in a thread."""
    if not data:
        raise UploadRefusedError(UploadRefusal.EMPTY, "the photo is empty", allowed=list(ALLOWED_TYPES))
    if len(data) > limits.max_bytes:
        raise limits.too_large()
    with _refusals(data, limits):
        facts = probe(data, max_pixels=limits.max_pixels)
        if facts.media_type == "image/heic":
            stored, facts = _from_heic(data)
        else:
            stored = strip_metadata(data, facts.orientation)
            check_pixels(stored)
    stored_hash, upload_hash = sha256(stored).hexdigest(), sha256(data).hexdigest()
    return Photo(stored, facts.media_type, stored_hash, upload_hash, facts.width, facts.height)


@contextmanager
def _refusals(data: bytes, limits: UploadLimits) -> Iterator[None]:
    """Convert any error of reading a photo to one of the refusals that a user can act on."""
    try:
        yield
    except UnsupportedPhotoError as error:
        accepted = "the file is not a photo of an accepted type: JPEG, PNG, WebP or HEIC"
        raise UploadRefusedError(UploadRefusal.WRONG_TYPE, accepted, allowed=list(ALLOWED_TYPES)) from error
    except PhotoTooLargeError as error:
        raise limits.too_many_pixels(error.width, error.height) from error
    except Exception as error:  # Decoders raise any exception for hostile bytes.
        raise _unreadable(data, error) from error


def _unreadable(data: bytes, error: Exception) -> UploadRefusedError:
    if is_truncated(data):
        return UploadRefusedError(UploadRefusal.TRUNCATED, "the photo is truncated; send it again")
    has_reason = isinstance(error, (MalformedPhotoError, AnimatedPhotoError))
    detail = str(error) if has_reason else "the photo cannot be decoded: its data is damaged; send another"
    return UploadRefusedError(UploadRefusal.UNREADABLE, detail, allowed=list(ALLOWED_TYPES))


def _from_heic(data: bytes) -> tuple[bytes, PhotoFacts]:
    # `to_pillow` applies the container's rotation, so the JPEG is upright.
    photo = pillow_heif.open_heif(data).to_pillow().convert("RGB")
    out = BytesIO()
    photo.save(out, "JPEG", quality=HEIC_QUALITY, icc_profile=photo.info.get("icc_profile"), exif=b"")
    return out.getvalue(), PhotoFacts("image/jpeg", photo.width, photo.height, 1)
