"""JPEG parser: segments, each with a marker and mostly a length and content (ITU-T T.81 annex B)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from savo_detection.errors import MalformedPhotoError, TruncatedPhotoError
from savo_detection.photos.containers.part_limit import limit_parts

__all__ = [
    "APP0",
    "APP1",
    "APP2",
    "APP14",
    "APPLICATION",
    "COMMENT",
    "END",
    "FRAMES",
    "PROGRESSIVE_FRAMES",
    "SCAN",
    "START",
    "Segment",
    "encode_segment",
    "marker_bytes",
    "segments",
]

START, END, SCAN, COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
APP0, APP1, APP2, APP14 = 0xE0, 0xE1, 0xE2, 0xEE
APPLICATION = frozenset(range(0xE0, 0xF0))
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of the frame headers, which contain the picture's size."""
PROGRESSIVE_FRAMES = frozenset((0xC2, 0xC6, 0xCA, 0xCE))

_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without content that can occur between segments: TEM and the restart markers."""

# Each search pattern begins with a fixed byte: `re` searches that twenty times faster than a run of fill bytes.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_MARKER_AFTER_PIXELS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_MARKER_HERE = re.compile(rb"\xff++[^\xff]")

_LENGTH = struct.Struct(">H")
_MAX_TABLE_LENGTHS = {0xC4: 2186, 0xDB: 522, 0xDD: 4, 0xDC: 4, SCAN: 14}
"""Lengths of Huffman and quantization tables, restart interval, number of lines and scan header (B.2.3, B.2.4)."""
_MAX_FRAME_LENGTH = 20
"""Length of a frame header with four components (B.2.2)."""
_APPLICATION_NAME = re.compile(rb"[ -~]{3}[\x00 -~]")
"""First bytes of an application segment, such as JFIF, Exif and MPF."""


Segment = tuple[int, int, int, int]
"""Marker, and the offsets in the file of the segment, of its content after the length, and of its end.

Fill bytes before a marker belong to no segment. A scan's compressed pixels are between the end of its header and the
next segment.
"""


def marker_bytes(marker: int) -> bytes:
    return bytes((0xFF, marker))


def encode_segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


@limit_parts
def segments(data: bytes, *, strict: bool) -> Iterator[Segment]:
    """Every segment after the start marker, including the end marker.

    Compressed pixels are read only when the segment after them is requested. Raises `TruncatedPhotoError`, and
    `MalformedPhotoError` when strict.
    """
    position, marker, scan_seen = 2, 0, False
    while marker != END:
        if strict:
            start = _marker_start(data, position, marker == SCAN)
        elif found := _NEXT_MARKER.search(data, position):
            start = found.start()
        else:
            raise TruncatedPhotoError
        marker = data[start + 1]
        content = position = start + 2
        if marker != END and marker not in _STANDALONE:
            if start + 4 > len(data):
                raise TruncatedPhotoError
            content, position = start + 4, start + 2 + _LENGTH.unpack_from(data, start + 2)[0]
        if strict:
            _check(data, (marker, start, content, position), scan_seen)
            scan_seen = scan_seen or marker == SCAN
        yield marker, start, content, position


def _marker_start(data: bytes, position: int, after_pixels: bool) -> int:
    """Offset of the next marker. Only compressed pixels may precede it."""
    found = _MARKER_AFTER_PIXELS.search(data, position) if after_pixels else _MARKER_HERE.match(data, position)
    if found:
        return found.end() - 2
    if after_pixels or data[position : position + 1] in (b"\xff", b""):
        raise TruncatedPhotoError
    raise MalformedPhotoError(f"there is no marker at byte {position}")


def _check(data: bytes, segment: Segment, scan_seen: bool) -> None:
    marker, start, content, end = segment
    length = end - start - 2
    if end < content:
        raise MalformedPhotoError(f"the segment at byte {start + 2} has the invalid length {length}")
    if end <= len(data):
        return
    if _is_plausible(marker, length, data[content : content + 4], scan_seen):
        raise TruncatedPhotoError
    raise MalformedPhotoError(f"the segment of kind {marker:#x} at byte {start} has the invalid length {length}")


def _is_plausible(marker: int, length: int, beginning: bytes, scan_seen: bool) -> bool:
    """Whether a segment that extends past the file's end is a real, truncated segment; otherwise it is noise."""
    if marker in APPLICATION:
        return not scan_seen and (len(beginning) < 4 or _APPLICATION_NAME.fullmatch(beginning) is not None)
    if marker in FRAMES:
        return not scan_seen and length <= _MAX_FRAME_LENGTH
    return marker == COMMENT or length <= _MAX_TABLE_LENGTHS.get(marker, 0)
