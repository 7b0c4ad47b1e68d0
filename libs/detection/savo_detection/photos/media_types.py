"""Media type of a photo by its first bytes. File names are ignored."""

from __future__ import annotations

from savo_detection.errors import UnreadablePhotoError, UnsupportedPhotoError
from savo_detection.photos.containers import png

__all__ = ["media_type_of"]

_HEVC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_ANY_CODEC_BRANDS = frozenset({b"mif1", b"msf1"})
"""HEIF brands of any codec: HEVC (HEIC), AV1 (AVIF) or another."""
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_MAX_BRANDS = 64


def media_type_of(data: bytes) -> str:
    """image/jpeg, image/png, image/webp or image/heic.

    Raises `UnsupportedPhotoError`, or `UnreadablePhotoError` for empty data.
    """
    if not data:
        raise UnreadablePhotoError("it is empty")
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(png.SIGNATURE):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp" and _is_heic(data):
        return "image/heic"
    raise UnsupportedPhotoError


def _is_heic(data: bytes) -> bool:
    """Whether the brands in the file's first box (major brand, version, compatible brands) are those of HEIC."""
    major = data[8:12]
    if major not in _ANY_CODEC_BRANDS:
        return major in _HEVC_BRANDS
    end = min(int.from_bytes(data[:4]), 16 + 4 * _MAX_BRANDS)
    compatible = {data[at : at + 4] for at in range(16, end, 4)}
    return not compatible & _AVIF_BRANDS or bool(compatible & _HEVC_BRANDS)
