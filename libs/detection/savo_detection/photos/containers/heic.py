"""HEIC parser: nested boxes, each with a size, a kind and content (ISO/IEC 14496-12, section 4.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from savo_detection.errors import MalformedPhotoError, TruncatedPhotoError
from savo_detection.photos.containers.part_limit import limit_parts

__all__ = ["Box", "boxes", "find_boxes"]

_TOP_LEVEL = frozenset(b"ftyp meta mdat moov moof free skip wide uuid pdin idat iloc".split())
"""Kinds of the top-level boxes of a HEIF file (ISO/IEC 14496-12 section 4.2, 23008-12)."""


Box = tuple[bytes, int, int]
"""Kind, and the offsets in the file of its content and of its end."""


@limit_parts
def boxes(data: bytes, start: int, end: int, *, strict: bool) -> Iterator[Box]:
    """The boxes from `start` to `end`, without inner boxes. A strict parser must get a complete file.

    Raises `TruncatedPhotoError`, and `MalformedPhotoError` when strict.
    """
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if strict and kind not in _TOP_LEVEL:
            raise MalformedPhotoError(f"the box at byte {start} is of an unknown kind")
        content, box_end = _extent(data, start, size, end)
        if box_end < content:
            if strict:
                raise MalformedPhotoError(f"the box at byte {start} is shorter than its header")
            return
        if strict and box_end > end:
            raise TruncatedPhotoError
        yield kind, content, min(end, box_end)
        start = box_end
    if strict and start != end:
        raise TruncatedPhotoError


def _extent(data: bytes, start: int, size: int, end: int) -> tuple[int, int]:
    """Offsets of a box's content and declared end. Size 0 means the rest of the file, size 1 a 64-bit size field."""
    if size == 0:
        return start + 8, end
    if size > 1:
        return start + 8, start + size
    if start + 16 > len(data):
        raise TruncatedPhotoError
    return start + 16, start + int.from_bytes(data[start + 8 : start + 16])


def find_boxes(data: bytes, start: int, end: int, kind: bytes, *inner_kinds: bytes) -> Iterator[Box]:
    """The boxes of a kind from `start` to `end`; with inner kinds, the boxes at the end of that path of kinds."""
    for box_kind, content, box_end in boxes(data, start, end, strict=False):
        if box_kind == kind and inner_kinds:
            content += _fields_before_boxes(data, kind, content)
            yield from find_boxes(data, content, box_end, *inner_kinds)
        elif box_kind == kind:
            yield box_kind, content, box_end


def _fields_before_boxes(data: bytes, kind: bytes, content: int) -> int:
    """Number of bytes before the inner boxes. Only `iinf` has such fields: version, flags, number of boxes."""
    if kind != b"iinf":
        return 0
    return 8 if data[content] else 6
