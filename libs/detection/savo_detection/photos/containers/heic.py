"""HEIC: boxes inside boxes, each a size, a kind and its content (ISO/IEC 14496-12, section 4.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from savo_detection.errors import MalformedPhotoError, TruncatedPhotoError
from savo_detection.photos.containers.parts import bounded

__all__ = ["Box", "boxes", "find_boxes"]

_TOP_LEVEL = frozenset(b"ftyp meta mdat moov moof free skip wide uuid pdin idat iloc".split())
"""The boxes at the top of a HEIF file (ISO/IEC 14496-12 section 4.2, 23008-12)."""


Box = tuple[bytes, int, int]
"""Kind, and the offsets in the file of its content and of its end."""


@bounded
def boxes(data: bytes, start: int, end: int, *, strict: bool) -> Iterator[Box]:
    """The boxes from `start` to `end`, without those inside them. A strict walk is one over a whole file.

    Raises `TruncatedPhotoError`, and `MalformedPhotoError` from a strict walk.
    """
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if strict and kind not in _TOP_LEVEL:
            raise MalformedPhotoError(f"no box at byte {start}")
        content, box_end = _extent(data, start, size, end)
        if box_end < content:
            if strict:
                raise MalformedPhotoError(f"a box shorter than its header at byte {start}")
            return
        if strict and box_end > end:
            raise TruncatedPhotoError
        yield kind, content, min(end, box_end)
        start = box_end
    if strict and start != end:
        raise TruncatedPhotoError


def _extent(data: bytes, start: int, size: int, end: int) -> tuple[int, int]:
    """Where a box's content begins and where it says that it ends: sizes 0 and 1 are marks for other forms of size."""
    if size == 0:
        return start + 8, end
    if size > 1:
        return start + 8, start + size
    if start + 16 > len(data):
        raise TruncatedPhotoError
    return start + 16, start + int.from_bytes(data[start + 8 : start + 16])


def find_boxes(data: bytes, start: int, end: int, kind: bytes, *inner_kinds: bytes) -> Iterator[Box]:
    """The boxes of that kind from `start` to `end`; with inner kinds, those that lie at the end of this path."""
    for box_kind, content, box_end in boxes(data, start, end, strict=False):
        if box_kind == kind and inner_kinds:
            content += _fields_before_boxes(data, kind, content)
            yield from find_boxes(data, content, box_end, *inner_kinds)
        elif box_kind == kind:
            yield box_kind, content, box_end


def _fields_before_boxes(data: bytes, kind: bytes, content: int) -> int:
    """Bytes. Of the boxes that hold boxes, `iinf` alone has fields before them: version, flags, number of boxes."""
    if kind != b"iinf":
        return 0
    return 8 if data[content] else 6
