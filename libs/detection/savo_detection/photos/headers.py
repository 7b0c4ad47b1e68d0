"""Headers of photos: type, size and orientation from the container, without decoding pixels. A missing end is an error.

Pillow's readers are not used: they allocate a WebP's canvas on opening, and decode a complete PNG to find its EXIF.
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
"""Limit of a JPEG's scans. Progressive JPEGs have about ten.

A decoder processes all pixels for each scan: a scan of 75 bytes takes 50 ms at 49 megapixels.
"""

_WEBP_ALPHA_FLAG = 0x10


@dataclass(frozen=True)
class Header:
    """Header of a photo as stored, before it is turned upright. Sizes are in pixels."""

    media_type: str
    width: int
    height: int
    orientation: int = exif.UPRIGHT
    """EXIF orientation, 1…8, of the first EXIF block."""
    channels: int = 0
    """Components of a JPEG; 3 for a WebP that is a single opaque picture; 0 when the header does not give it."""
    largest: tuple[int, int] = (0, 0)
    """Width and height of the largest picture in a HEIC, for which decoding allocates memory before cropping."""


def read_header(data: bytes) -> Header:
    """Read a photo's header. Raises `UnsupportedPhotoError` and `UnreadablePhotoError`."""
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
            # When the first scan holds all components at full precision, decoders read no other scan.
            has_more_scans = frame in jpeg.PROGRESSIVE_FRAMES or data[content] < channels
            _check_end(data, end)
            if has_more_scans:
                _check_scans(segments)
            break
    return Header("image/jpeg", width, height, orientation or exif.UPRIGHT, channels)


def _check_end(data: bytes, position: int) -> None:
    # OpenCV and libjpeg fill missing rows with grey without an error.
    if data.rfind(jpeg.marker_bytes(jpeg.END), position) < 0:
        raise TruncatedPhotoError("no end marker")


def _check_scans(after_first_scan: Iterator[jpeg.Segment]) -> None:
    scans = 1 + sum(marker == jpeg.SCAN for marker, *_offsets in after_first_scan)
    if scans > MAX_SCANS:
        raise UnreadablePhotoError(
            f"its JPEG is stored in {scans} passes (limit {MAX_SCANS}); save it again as a normal JPEG"
        )


def _png(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    orientation = None
    for number, (kind, _start, content, end) in enumerate(png.chunks(data, strict=False)):
        if (kind == b"IHDR") != (number == 0):
            # Pillow would use the last size and allocate memory for it.
            raise UnreadablePhotoError("its first chunk, and no other, must be the header with its size (IHDR)")
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
    """Width and height from the first ten bytes of a chunk; 0, 0 for a chunk without a size."""
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
    # libheif applies the container's rotation (`irot`, `imir`). In HEIF the EXIF orientation is ignored.
    try:
        width, height = pillow_heif.open_heif(data).size
    except (ValueError, RuntimeError, EOFError, OSError, SyntaxError) as error:
        raise UnreadablePhotoError("its HEIC container is damaged or cut short") from error
    return Header("image/heic", width, height, largest=largest_picture(data))
