"""Facts about a photo from its container: type, size, orientation, and whether its end is there. No pixel is decoded.

Own readers, because Pillow's take memory for a WebP canvas while opening, and decode a whole PNG to look for its EXIF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pillow_heif

from savo_detection.errors import TruncatedPhotoError, UnreadablePhotoError
from savo_detection.photos import exif
from savo_detection.photos.containers import jpeg, png, webp
from savo_detection.photos.heic_sizes import largest_picture
from savo_detection.photos.media_types import media_type_of

__all__ = ["MAX_SCANS", "Header", "read_header"]

MAX_SCANS = 50
"""Of one JPEG. Progressive ones have about ten; a decoder goes over all pixels for each scan, and one of 75 bytes costs
it 50 ms at 49 megapixels."""

_WEBP_ALPHA_FLAG = 0x10


@dataclass(frozen=True)
class Header:
    """As stored, before turning upright. Sizes are in pixels."""

    media_type: str
    width: int
    height: int
    orientation: int = exif.UPRIGHT
    """EXIF's 1…8. Of several EXIF blocks the first counts."""
    channels: int = 0
    """JPEG's number of components; 3 for a WebP that is one opaque picture; else 0: the header does not give it."""
    largest: tuple[int, int] = (0, 0)
    """Width and height of the largest picture inside a HEIC: decoding takes memory for it before it is cropped."""


def read_header(data: bytes) -> Header:
    """Raises `UnsupportedPhotoError` and `UnreadablePhotoError`."""
    readers = {"image/jpeg": _jpeg, "image/png": _png, "image/webp": _webp, "image/heic": _heic}
    media_type = media_type_of(data)
    try:
        header = readers[media_type](data)
    except (struct.error, IndexError) as error:
        raise TruncatedPhotoError from error
    if header.width < 1 or header.height < 1:
        raise UnreadablePhotoError("its header gives no size")
    return header


def _jpeg(data: bytes) -> Header:
    width = height = channels = frame = 0
    orientation = None
    segments = jpeg.segments(data, strict=False)
    for marker, _start, content, end in segments:
        if marker in jpeg.FRAMES:
            frame, (height, width, channels) = marker, struct.unpack_from(">HHB", data, content + 1)
        elif marker == jpeg.APP1 and orientation is None and data.startswith(exif.NAME, content, end):
            orientation = exif.read_orientation(data[content + len(exif.NAME) : end])
        elif marker == jpeg.SCAN:
            # Where the first scan holds all components at their full precision, decoders read no other.
            has_more_scans = frame in jpeg.PROGRESSIVE_FRAMES or data[content] < channels
            _check_end(data, end)
            if has_more_scans:
                _check_scans(segments)
            break
    return Header("image/jpeg", width, height, orientation or exif.UPRIGHT, channels)


def _check_end(data: bytes, position: int) -> None:
    """OpenCV and libjpeg fill what is missing with grey and call it a photo."""
    if data.rfind(jpeg.marker_bytes(jpeg.END), position) < 0:
        raise TruncatedPhotoError("no end marker")


def _check_scans(after_first_scan: Iterator[jpeg.Segment]) -> None:
    scans = 1 + sum(marker == jpeg.SCAN for marker, *_offsets in after_first_scan)
    if scans > MAX_SCANS:
        raise UnreadablePhotoError(f"it is drawn in {scans} scans; {MAX_SCANS} are the most")


def _png(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    orientation = None
    for number, (kind, _start, content, end) in enumerate(png.chunks(data, strict=False)):
        if (kind == b"IHDR") != (number == 0):
            # Pillow would believe the last one, and take memory for it.
            raise UnreadablePhotoError("its size must be given once, and first")
        if kind == b"eXIf" and orientation is None:
            orientation = exif.read_orientation(data[content : end - png.CHECKSUM_LENGTH])
    return Header("image/png", width, height, orientation or exif.UPRIGHT)


def _webp(data: bytes) -> Header:
    width = height = 0
    orientation, is_one_opaque_picture = None, True
    for kind, content, end in webp.chunks(data, strict=False):
        fields = data[content : min(end, content + 10)]
        if kind == b"EXIF" and orientation is None:
            orientation = exif.read_orientation(data[content:end].removeprefix(exif.NAME))
        elif not width:
            width, height = _webp_size(kind, fields)
        if kind in (b"ALPH", b"ANMF") or (kind == b"VP8L" and fields[4] & _WEBP_ALPHA_FLAG):
            is_one_opaque_picture = False
    return Header("image/webp", width, height, orientation or exif.UPRIGHT, 3 if is_one_opaque_picture else 0)


def _webp_size(kind: bytes, fields: bytes) -> tuple[int, int]:
    """By the first ten bytes of a chunk; 0, 0 where it gives no size."""
    if kind == b"VP8X":
        return int.from_bytes(fields[4:7], "little") + 1, int.from_bytes(fields[7:10], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", fields, 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", fields, 6)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _heic(data: bytes) -> Header:
    """libheif turns the picture by the container's `irot` and `imir`; EXIF's orientation does not count in HEIF."""
    try:
        width, height = pillow_heif.open_heif(data).size
    except (ValueError, RuntimeError, EOFError, OSError, SyntaxError) as error:
        raise UnreadablePhotoError("its HEIC container is damaged or cut short") from error
    return Header("image/heic", width, height, largest=largest_picture(data))
