"""What a photo's first bytes say, read without touching a pixel: type, size, orientation, and whether its end is there.

Own readers, because Pillow's take memory for a WebP canvas while opening, and decode a whole PNG to look for its EXIF.
Sources: ITU-T T.81 annex B (JPEG markers), RFC 2083 (PNG), RFC 9649 (WebP), TIFF 6.0 section 2 (EXIF's IFD).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pillow_heif

from savo_detection.errors import UnreadablePhotoError, UnsupportedPhotoError
from savo_detection.photos.containers.parts import counted
from savo_detection.photos.heic_sizes import largest_picture

HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

MOST_SCANS = 50
"""Of one JPEG. Progressive ones have about ten; a decoder goes over all pixels for each, and one of 75 bytes costs it 50 ms at 49 megapixels."""

_SOS, _EOI = 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
# What decoders skip between segments is skipped here too: fill bytes, stuffed zeros and markers without content.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True)
class Header:
    """As stored, before turning upright."""

    media_type: str
    width: int
    height: int
    orientation: int = 1
    """EXIF's 1…8."""
    channels: int = 0
    """JPEG's number of components; 3 for a WebP that is one opaque picture; else 0: it is not known from the header."""
    largest: tuple[int, int] = (0, 0)
    """Width and height of the largest picture inside a HEIC: decoding takes memory for it before it is cut to the size that is shown."""


def media_type_of(data: bytes) -> str:
    """By magic bytes; a file's name counts for nothing. Raises `UnsupportedPhotoError`, or `UnreadablePhotoError` when there is no byte at all."""
    if not data:
        raise UnreadablePhotoError("it is empty")
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
        return "image/heic"
    raise UnsupportedPhotoError


def read_header(data: bytes) -> Header:
    """Raises `UnsupportedPhotoError` and `UnreadablePhotoError`."""
    readers = {"image/jpeg": _jpeg, "image/png": _png, "image/webp": _webp, "image/heic": _heic}
    media_type = media_type_of(data)
    try:
        header = readers[media_type](data)
    except (struct.error, IndexError) as flaw:
        raise UnreadablePhotoError("it is cut short") from flaw
    if header.width < 1 or header.height < 1:
        raise UnreadablePhotoError("its header gives no size")
    return header


def exif_orientation(tiff: bytes) -> int:
    """Orientation 1…8 of an EXIF block that begins with the TIFF header; 1 when absent, 0, or not understood."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, start)
        for position in range(start + 2, start + 2 + 12 * entries, 12):
            tag, _kind, _count, value = struct.unpack_from(order + "HHIH", tiff, position)
            if tag == _ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def _jpeg(data: bytes) -> Header:
    width = height = channels = frame = 0
    orientation = 1
    for marker, start, length in counted(_jpeg_segments(data, 2)):
        if marker in _FRAMES:
            frame, (height, width, channels) = marker, struct.unpack_from(">HHB", data, start + 1)
        elif marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
            orientation = exif_orientation(data[start + 6 : start + length])
        elif marker == _SOS:
            # Where the first scan holds all components at their full precision, decoders look at no other.
            _check_scans(data, start + length, several=frame in _PROGRESSIVE or data[start] < channels)
            break
    return Header("image/jpeg", width, height, orientation, channels)


def _check_scans(data: bytes, position: int, *, several: bool) -> None:
    """From after the first scan's header."""
    if data.rfind(bytes((0xFF, _EOI)), position) < 0:
        # OpenCV and libjpeg fill what is missing with grey and call it a photo.
        raise UnreadablePhotoError("it is cut short (no end marker)")
    if several:
        scans = 1 + sum(marker == _SOS for marker, _start, _length in counted(_jpeg_segments(data, position)))
        if scans > MOST_SCANS:
            raise UnreadablePhotoError(f"it is drawn in {scans} scans; {MOST_SCANS} are the most")


def _jpeg_segments(data: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Marker, start and length of each segment's content, up to the end marker. Compressed pixels between them are passed over."""
    while True:
        found = _MARKER.search(data, position)
        if found is None:
            raise UnreadablePhotoError("it is cut short")
        marker, position = found[1][0], found.end()
        if marker == _EOI:
            return
        (length,) = struct.unpack_from(">H", data, position)
        yield marker, position + 2, length - 2
        position += length


def _png(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    orientation = 1
    for number, (kind, start, length) in enumerate(counted(_png_chunks(data))):
        if (kind == b"IHDR") != (number == 0):
            # Pillow would believe the last one, and take memory for it.
            raise UnreadablePhotoError("its size must be given once, and first")
        if kind == b"eXIf":
            orientation = exif_orientation(data[start : start + length])
    return Header("image/png", width, height, orientation)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of each chunk's content, up to and with the end."""
    position, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, position + 8, length
        position += 12 + length


def _webp(data: bytes) -> Header:
    (riff_size,) = struct.unpack_from("<I", data, 4)
    if riff_size + 8 > len(data):
        raise UnreadablePhotoError("it is cut short")
    width = height = 0
    orientation, one_opaque = 1, True
    for kind, body in counted(_webp_chunks(data, riff_size + 8)):
        if kind == b"EXIF":
            orientation = exif_orientation(body.removeprefix(b"Exif\0\0"))
        elif not width:
            width, height = _webp_size(kind, body)
        one_opaque &= not (kind in (b"ALPH", b"ANMF") or (kind == b"VP8L" and body[4] & 0x10))
    return Header("image/webp", width, height, orientation, 3 if one_opaque else 0)


def _webp_chunks(data: bytes, end: int) -> Iterator[tuple[bytes, bytes]]:
    position = 12
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int]:
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", body, 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _heic(data: bytes) -> Header:
    """libheif turns the picture by the container's own `irot` and `imir`; EXIF's orientation does not count in HEIF."""
    try:
        width, height = pillow_heif.open_heif(data).size
    except (ValueError, RuntimeError, EOFError, OSError, SyntaxError) as flaw:
        raise UnreadablePhotoError("its HEIC container is damaged or cut short") from flaw
    return Header("image/heic", width, height, largest=largest_picture(data))
