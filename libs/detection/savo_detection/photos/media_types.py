"""The type of a photo by its first bytes; a file's name counts for nothing."""

from __future__ import annotations

from savo_detection.errors import UnreadablePhotoError, UnsupportedPhotoError
from savo_detection.photos.containers import png

__all__ = ["media_type_of"]

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def media_type_of(data: bytes) -> str:
    """image/jpeg, image/png, image/webp or image/heic.

    Raises `UnsupportedPhotoError`, or `UnreadablePhotoError` where there is no byte at all.
    """
    if not data:
        raise UnreadablePhotoError("it is empty")
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(png.SIGNATURE):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return "image/heic"
    raise UnsupportedPhotoError
