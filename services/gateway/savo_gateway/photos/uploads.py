"""From received bytes to a photo that may be stored: of a known type, within the limits, whole, without metadata.

JPEG, PNG and WebP keep their pixels bit for bit; HEIC becomes a JPEG once, because few decoders read it.
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
"""JPEG quality of a converted HEIC: past this the file cumulative and a detector sees no difference."""


@dataclass(frozen=True)
class UploadLimits:
    """What is taken: size in bytes (MB = 10⁶) and pixels."""

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000

    def too_large(self) -> UploadRefusedError:
        megabytes = self.max_bytes / 1_000_000
        detail = f"a photo may have at most {megabytes:g} MB"
        return UploadRefusedError(UploadRefusal.TOO_LARGE, detail, limit={"bytes": self.max_bytes})

    def too_many_pixels(self, width: int, height: int) -> UploadRefusedError:
        megapixels = self.max_pixels / 1_000_000
        detail = f"the photo is {width} × {height}; at most {megapixels:g} megapixels are taken"
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
    """Raises `UploadRefusedError` saying what is wrong and what is allowed. Decodes: run it in a thread."""
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
    """Whatever reading a photo raises, as the few refusals that a person can act on."""
    try:
        yield
    except UnsupportedPhotoError as error:
        accepted = "this is no photo of a type that is taken: JPEG, PNG, WebP and HEIC are"
        raise UploadRefusedError(UploadRefusal.WRONG_TYPE, accepted, allowed=list(ALLOWED_TYPES)) from error
    except PhotoTooLargeError as error:
        raise limits.too_many_pixels(error.width, error.height) from error
    except Exception as error:  # Decoders raise anything at all for hostile bytes, and all of it means the same.
        raise _unreadable(data, error) from error


def _unreadable(data: bytes, error: Exception) -> UploadRefusedError:
    if is_truncated(data):
        return UploadRefusedError(UploadRefusal.TRUNCATED, "the photo is cut off before its end; send it again")
    has_reason = isinstance(error, (MalformedPhotoError, AnimatedPhotoError))
    detail = str(error) if has_reason else "the photo cannot be read: its data is damaged"
    return UploadRefusedError(UploadRefusal.UNREADABLE, detail, allowed=list(ALLOWED_TYPES))


def _from_heic(data: bytes) -> tuple[bytes, PhotoFacts]:
    # Upright: the container's rotation is applied on the way.
    photo = pillow_heif.open_heif(data).to_pillow().convert("RGB")
    out = BytesIO()
    photo.save(out, "JPEG", quality=HEIC_QUALITY, icc_profile=photo.info.get("icc_profile"), exif=b"")
    return out.getvalue(), PhotoFacts("image/jpeg", photo.width, photo.height, 1)
