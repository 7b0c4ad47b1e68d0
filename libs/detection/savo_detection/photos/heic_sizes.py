"""Guard against HEIC files that decode to far more pixels than they show.

Sizes are read from the container's boxes (ISO/IEC 14496-12 and 23008-12).
The displayed picture can be a crop of a much larger one, or declare a small size and be assembled from many tiles.
libheif detects this after it has allocated the memory. Limits that libheif enforces on opening (items, extents, boxes
in a box) are not checked again.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from savo_detection.photos.containers.heic import find_boxes

__all__ = ["largest_picture"]

_WIDTH_OFFSETS = {b"grid": 4, b"iovl": 10}
"""Offset of the width in the data of an assembled picture.

It comes after version and flags, and after the grid's rows and columns or the overlay's background.
"""
_SIZE_END = 18
"""Largest offset of the height's end."""

Extent = tuple[int, int]
"""Offset and length."""


def largest_picture(data: bytes) -> tuple[int, int]:
    """Width and height in pixels; 0, 0 when no box gives a size.

    Raises `UnreadablePhotoError`, and `struct.error` or `IndexError` for a box that ends too early.
    """
    metas = find_boxes(data, 0, len(data), b"meta")
    # The inner boxes follow four bytes of version and flags.
    sizes = (size for _kind, content, end in metas for size in _picture_sizes(data, content + 4, end))
    return max(sizes, key=math.prod, default=(0, 0))


def _picture_sizes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Sizes of all pictures in a metadata box: the stored pictures, and the pictures assembled from them."""
    for _kind, content, _end in find_boxes(data, start, end, b"iprp", b"ipco", b"ispe"):
        yield struct.unpack_from(">II", data, content + 4)
    kinds = dict(_assembled_items(data, start, end))
    item_data = next((content for _kind, content, _end in find_boxes(data, start, end, b"idat")), 0)
    for _kind, content, _end in find_boxes(data, start, end, b"iloc"):
        for item, in_item_data, extents in _locations(_IntegerReader(data, content)):
            if item in kinds:
                yield _assembled_size(_beginning(data, item_data if in_item_data else 0, extents), kinds[item])


def _beginning(data: bytes, origin: int, extents: list[Extent]) -> bytes:
    """The first bytes of an item's extents, enough to contain its size."""
    return b"".join(data[origin + at : origin + at + min(length, _SIZE_END)] for at, length in extents)


def _assembled_size(content: bytes, kind: bytes) -> tuple[int, int]:
    has_wide_fields = content[1] & 1
    width, height = struct.unpack_from(">II" if has_wide_fields else ">HH", content, _WIDTH_OFFSETS[kind])
    return width, height


def _assembled_items(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Id and kind of each picture that is assembled from other items."""
    for _kind, content, _end in find_boxes(data, start, end, b"iinf", b"infe"):
        fields = ">IH4s" if data[content] >= 3 else ">HH4s"
        item, _protection, kind = struct.unpack_from(fields, data, content + 4)
        if kind in _WIDTH_OFFSETS:
            yield item, kind


def _locations(read: _IntegerReader) -> Iterator[tuple[int, bool, list[Extent]]]:
    """Id of each item in an `iloc` box, whether its offsets are relative to the `idat` box, and its extents."""
    version, _flags, sizes = read(1), read(3), read(2)
    id_size = 2 if version < 2 else 4
    for _ in range(read(id_size)):
        item, method = read(id_size), read(2) & 15 if version else 0
        _source, base = read(2), read(sizes >> 4 & 15)
        extents = []
        for _ in range(read(2)):
            _index = read(sizes & 15 if version else 0)
            extents.append((base + read(sizes >> 12), read(sizes >> 8 & 15)))
        yield item, method == 1, extents


class _IntegerReader:
    """Sequential reader of big-endian integers. Its argument is the number of bytes."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position

    def __call__(self, size: int) -> int:
        self._position += size
        if self._position > len(self._data):
            raise IndexError
        return int.from_bytes(self._data[self._position - size : self._position])
