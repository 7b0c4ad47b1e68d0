"""Removal of a photo's metadata without decoding it: parts of the container are dropped, pixels stay unchanged.

Kept: the orientation, and what a decoder needs for the same pixels (tables, colour profile, Adobe's colour transform,
transparency). Dropped: EXIF with GPS and thumbnail, XMP, IPTC, comments, maker notes, and pictures and videos after the
end of the first picture.
"""

from __future__ import annotations

from itertools import pairwise

from savo_detection.errors import AnimatedPhotoError, MalformedPhotoError
from savo_detection.photos import exif
from savo_detection.photos.containers import jpeg, png, webp
from savo_detection.photos.media_types import media_type_of

__all__ = ["strip_metadata"]

_PNG_KEPT = frozenset(b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP cICP sBIT bKGD pHYs".split())

_WEBP_PICTURES = frozenset({b"VP8 ", b"VP8L"})
_WEBP_ANIMATIONS = frozenset({b"ANIM", b"ANMF"})
_WEBP_KEPT = frozenset({b"VP8X", b"ICCP", b"ALPH"}) | _WEBP_PICTURES
_WEBP_EXIF_FLAG, _WEBP_XMP_FLAG = 0x08, 0x04


def strip_metadata(data: bytes, orientation: int = exif.UPRIGHT) -> bytes:
    """The same JPEG, PNG or WebP without metadata except its `orientation` (EXIF, 1…8).

    Raises `MalformedPhotoError` for a file that violates its format, `TruncatedPhotoError` for a file without its end,
    `AnimatedPhotoError` for an animation, and `ValueError` for a HEIC, which is not supported.
    """
    media_type = media_type_of(data)
    if media_type == "image/jpeg":
        return _strip_jpeg(data, orientation)
    if media_type == "image/png":
        return _strip_png(data, orientation)
    if media_type == "image/webp":
        return _strip_webp(data, orientation)
    raise ValueError(f"metadata cannot be stripped from {media_type}; convert the photo to JPEG first")


def _strip_jpeg(data: bytes, orientation: int) -> bytes:
    view = memoryview(data)
    kept: list[bytes | memoryview] = []
    for (marker, start, _content, end), (_marker, next_start, *_) in pairwise(jpeg.segments(data, strict=True)):
        # A scan's pixels are between its header and the next segment.
        kept.append(_kept_of_jpeg(marker, view[start : next_start if marker == jpeg.SCAN else end]))
    if orientation != exif.UPRIGHT:
        # JFIF's segment has to be first.
        position = 1 if kept and kept[0][:2] == jpeg.marker_bytes(jpeg.APP0) else 0
        kept.insert(position, jpeg.encode_segment(jpeg.APP1, exif.NAME + exif.orientation_block(orientation)))
    return b"".join((jpeg.marker_bytes(jpeg.START), *kept, jpeg.marker_bytes(jpeg.END)))


def _kept_of_jpeg(marker: int, segment: memoryview) -> bytes | memoryview:
    """The segment to store; empty when it is dropped."""
    if marker not in jpeg.APPLICATION and marker != jpeg.COMMENT:
        return segment
    content = bytes(segment[4:])
    if marker == jpeg.APP0:
        # Keep the pixel density, drop the thumbnail.
        is_jfif = content.startswith(b"JFIF\0") and len(content) >= 14
        return jpeg.encode_segment(jpeg.APP0, content[:12] + b"\0\0") if is_jfif else b""
    if marker == jpeg.APP2:
        return segment if content.startswith(b"ICC_PROFILE\0") else b""
    if marker == jpeg.APP14:
        return segment if content.startswith(b"Adobe") else b""
    return b""


def _strip_png(data: bytes, orientation: int) -> bytes:
    view = memoryview(data)
    kept: list[bytes | memoryview] = [png.SIGNATURE]
    for kind, start, _content, end in png.chunks(data, strict=True):
        if kind == b"acTL":
            raise AnimatedPhotoError
        if kind in _PNG_KEPT:
            kept.append(view[start:end])
        if kind == b"IHDR" and orientation != exif.UPRIGHT:
            kept.append(png.encode_chunk(b"eXIf", exif.orientation_block(orientation)))
    return b"".join(kept)


def _strip_webp(data: bytes, orientation: int) -> bytes:
    chunks = list(webp.chunks(data, strict=True))
    kinds = {kind for kind, _content, _end in chunks}
    if kinds & _WEBP_ANIMATIONS:
        raise AnimatedPhotoError
    if not kinds & _WEBP_PICTURES:
        raise MalformedPhotoError("it holds no still picture")
    view = memoryview(data)
    kept = [(kind, view[content:end]) for kind, content, end in chunks if kind in _WEBP_KEPT]
    encoded = [_encode_for_webp(kind, content, orientation) for kind, content in kept]
    # Only the extended form (VP8X) can contain an orientation.
    if orientation != exif.UPRIGHT and kept[0][0] == b"VP8X":
        encoded.append(webp.encode_chunk(b"EXIF", exif.orientation_block(orientation)))
    return webp.encode_file(encoded)


def _encode_for_webp(kind: bytes, content: memoryview, orientation: int) -> bytes:
    """The chunk. The flags of VP8X are set for the chunks that are kept."""
    if kind != b"VP8X" or not content:
        return webp.encode_chunk(kind, content)
    flags = content[0] & ~(_WEBP_EXIF_FLAG | _WEBP_XMP_FLAG)
    flags |= _WEBP_EXIF_FLAG if orientation != exif.UPRIGHT else 0
    return webp.encode_chunk(kind, bytes((flags,)) + content[1:])
