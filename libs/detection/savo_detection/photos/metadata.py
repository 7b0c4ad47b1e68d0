"""Photos without their metadata, pixels untouched: containers are cut segment by segment, nothing is decoded.

What stays is what a decoder needs for the same pixels (tables, colour profile, Adobe's colour transform, transparency)
and the orientation. What goes: EXIF with its GPS and thumbnail, XMP, IPTC, comments, maker notes, further pictures and
videos behind the end of the first one.

Sources: ITU T.81 annex B (JPEG), W3C PNG 3rd edition chapter 11, Google's WebP container specification, Exif 2.32.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import TypeVar

from savo_detection.photos.containers.parts import MOST_PARTS

__all__ = ["AnimatedContainerError", "BrokenContainerError", "TruncatedContainerError", "without_metadata"]


T = TypeVar("T")


class BrokenContainerError(ValueError):
    """The bytes do not follow their format."""


class AnimatedContainerError(BrokenContainerError):
    """It holds many pictures: nobody could say which one was looked at."""

    def __init__(self) -> None:
        super().__init__("it is animated; send a still picture")


class TruncatedContainerError(BrokenContainerError):
    """The bytes follow their format and end before the picture does. Noise behind a photo's first bytes is only broken."""


def without_metadata(data: bytes, media_type: str, orientation: int = 1) -> bytes:
    """The same picture without metadata but its `orientation` (EXIF 1…8). Raises `BrokenContainerError`."""
    return {"image/jpeg": _cut_jpeg, "image/png": _cut_png, "image/webp": _cut_webp}[media_type](data, orientation)


def _few(parts: Iterator[T]) -> Iterator[T]:
    """Each costs memory of its own; a JPEG's are counted here up to its end, where `probe` looks no further than its pixels."""
    for number, part in enumerate(parts, 1):
        if number > MOST_PARTS:
            raise BrokenContainerError(f"it holds more than {MOST_PARTS:,} parts, and a photo has dozens; save it anew and send that")
        yield part


def _exif(orientation: int) -> bytes:
    """A TIFF block that holds the orientation and nothing else."""
    return b"MM\x00\x2a\x00\x00\x00\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


# JPEG ------------------------------------------------------------------------------------------------------------

_END_OF_SCAN_DATA = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Of fill bytes only the last belongs to the marker. The pattern begins with one fixed byte, which `re` looks for twenty times faster than for a run of it."""
_START, _END, _START_OF_SCAN = 0xD8, 0xD9, 0xDA
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_APP0, _APP1, _APP2, _APP14, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_TABLES = {0xC4: 2186, 0xDB: 522, 0xDD: 4, 0xDC: 4, _START_OF_SCAN: 14}
"""The longest that each of these is (B.2.3, B.2.4)."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LONGEST_FRAME = 20
"""Of four components (B.2.2)."""
_WORD = re.compile(rb"[ -~]{3}[\x00 -~]")
"""Every application's segment begins with its name: JFIF, Exif, MPF."""


def _cut_jpeg(data: bytes, orientation: int) -> bytes:
    if data[:2] != b"\xff\xd8":
        raise BrokenContainerError("no start of image")
    segments = [_kept(marker, segment) for marker, segment in _few(_jpeg_segments(data))]
    head = segments[:1] if segments[0][:2] == b"\xff\xe0" else []  # JFIF wants to be first
    note = b"" if orientation == 1 else _jpeg_segment(_APP1, b"Exif\x00\x00" + _exif(orientation))
    return b"".join([b"\xff\xd8", *head, note, *segments[len(head) :]])


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Marker and whole segment, entropy-coded data included, from behind SOI to EOI."""
    at, scanning, view = 2, False, memoryview(data)
    while True:
        at, marker = _next_marker(data, at)
        if marker == _END:
            yield marker, view[at - 2 : at]
            return
        end = at if marker in _STANDALONE else _segment_end(data, at)
        if end > len(data):
            raise _cut_in_a_segment(data, at, marker, scanning)
        if marker == _START_OF_SCAN:
            scanning = True
            end = _scan_end(data, end)
        yield marker, view[at - 2 : end]
        at = end


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    if data[at : at + 1] not in (b"\xff", b""):
        raise BrokenContainerError(f"no marker at byte {at}")
    while data[at : at + 1] == b"\xff":
        at += 1
    if at >= len(data):
        raise TruncatedContainerError("the picture has no end")
    return at + 1, data[at]


def _segment_end(data: bytes, at: int) -> int:
    if at + 2 > len(data):
        raise TruncatedContainerError("the picture ends inside a segment")
    length = struct.unpack_from(">H", data, at)[0]
    if length < 2:
        raise BrokenContainerError(f"a segment of length {length} at byte {at}")
    return int(at + length)


def _cut_in_a_segment(data: bytes, at: int, marker: int, scanning: bool) -> BrokenContainerError:
    length, begin = struct.unpack_from(">H", data, at)[0], data[at + 2 : at + 6]
    if _APP0 <= marker <= 0xEF:
        likely = not scanning and (len(begin) < 4 or _WORD.fullmatch(begin) is not None)
    elif marker in _FRAMES:
        likely = not scanning and length <= _LONGEST_FRAME
    else:
        likely = marker == _COMMENT or length <= _TABLES.get(marker, 0)
    if likely:
        return TruncatedContainerError("the picture ends inside a segment")
    return BrokenContainerError(f"no photo has a segment of kind {marker:#x} and length {length} there")


def _scan_end(data: bytes, at: int) -> int:
    found = _END_OF_SCAN_DATA.search(data, at)
    if not found:
        raise TruncatedContainerError("the picture has no end")
    return found.start()


def _kept(marker: int, segment: memoryview) -> bytes | memoryview:
    """The segment as it is stored; empty when it is cut."""
    if not (_APP0 <= marker <= 0xEF or marker == _COMMENT):
        return segment
    body = bytes(segment[4:])
    if marker == _APP0:
        # The thumbnail goes, the density stays.
        return _jpeg_segment(_APP0, body[:12] + b"\x00\x00") if body.startswith(b"JFIF\x00") and len(body) >= 14 else b""
    if marker == _APP2:
        return segment if body.startswith(b"ICC_PROFILE\x00") else b""
    if marker == _APP14:
        return segment if body.startswith(b"Adobe") else b""
    return b""


def _jpeg_segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


# PNG -------------------------------------------------------------------------------------------------------------

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"bKGD", b"pHYs"})


def _cut_png(data: bytes, orientation: int) -> bytes:
    if not data.startswith(_PNG_SIGNATURE):
        raise BrokenContainerError("no PNG signature")
    chunks = [_PNG_SIGNATURE]
    for name, chunk in _few(_png_chunks(data)):
        if name == b"acTL":
            raise AnimatedContainerError
        if name in _PNG_KEPT:
            chunks.append(chunk)
        if name == b"IHDR" and orientation != 1:
            chunks.append(_png_chunk(b"eXIf", _exif(orientation)))
    return b"".join(chunks)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG_SIGNATURE)
    while True:
        if at + 8 > len(data):
            raise TruncatedContainerError("the picture has no end")
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if not name.isalpha():
            raise BrokenContainerError(f"no chunk at byte {at}")
        if end > len(data):
            raise TruncatedContainerError("the picture ends inside a chunk")
        yield name, data[at:end]
        if name == b"IEND":
            return
        at = end


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


# WebP ------------------------------------------------------------------------------------------------------------

_WEBP_KEPT = frozenset({b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L"})
_EXIF_FLAG, _XMP_FLAG = 0x08, 0x04


def _cut_webp(data: bytes, orientation: int) -> bytes:
    found = list(_few(_webp_chunks(data)))
    if any(name in (b"ANIM", b"ANMF") for name, _ in found):
        raise AnimatedContainerError
    chunks = [_with_flags(name, body, orientation) for name, body in found if name in _WEBP_KEPT]
    if not any(name in (b"VP8 ", b"VP8L") for name, _ in chunks):
        raise BrokenContainerError("it holds no still picture")
    # Only the extended form (VP8X) can hold an orientation, so there is none to keep in the simple one.
    if orientation != 1 and chunks[0][0] == b"VP8X":
        chunks.append((b"EXIF", _exif(orientation)))
    body = b"WEBP" + b"".join(_riff_chunk(name, content) for name, content in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise BrokenContainerError("no RIFF header")
    size = struct.unpack_from("<I", data, 4)[0] + 8
    if not any(kind.startswith(data[12:16]) for kind in (b"VP8 ", b"VP8L", b"VP8X")):
        raise BrokenContainerError("its first chunk holds no picture")
    if size > len(data):
        raise TruncatedContainerError("the picture ends before its header says")
    at = 12
    while at + 8 <= size:
        name, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > size:
            raise TruncatedContainerError("the picture ends inside a chunk")
        yield name, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _with_flags(name: bytes, body: bytes, orientation: int) -> tuple[bytes, bytes]:
    if name != b"VP8X" or not body:
        return name, body
    flags = body[0] & ~(_EXIF_FLAG | _XMP_FLAG) | (_EXIF_FLAG if orientation != 1 else 0)
    return name, bytes((flags,)) + body[1:]


def _riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\x00" * (len(body) % 2)
