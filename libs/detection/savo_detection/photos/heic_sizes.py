"""The largest picture that a HEIC container has inside, by what its boxes say (ISO/IEC 14496-12 and 23008-12).

What is shown may be far smaller than what is decoded for it: cut out of a large picture, or said to be small though it is put together from
many tiles. libheif finds out after it has taken the memory. What it limits itself (items, their pieces, boxes in a box) is not counted again here:
the container has been opened by it before.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from savo_detection.photos.containers.parts import counted

__all__ = ["largest_picture"]

# Where a picture that is put together keeps its width: after its version and flags, and the grid's rows and columns or the overlay's background.
_PUT_TOGETHER = {b"grid": 4, b"iovl": 10}
_LONGEST = 18
"""Bytes up to the end of its height."""


def largest_picture(data: bytes) -> tuple[int, int]:
    """Width and height; 0, 0 where no box gives any. Raises `UnreadablePhotoError`, `struct.error` and `IndexError`."""
    return max((size for start, end in _find(data, 0, len(data), b"meta") for size in _sizes(data, start + 4, end)), key=math.prod, default=(0, 0))


def _sizes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Of all that the box about the pictures names: those stored, and those put together from them."""
    for place, _end in _find(data, start, end, b"iprp", b"ipco", b"ispe"):
        yield struct.unpack_from(">II", data, place + 4)
    kinds = dict(_kinds(data, start, end))
    small_data = next((place for place, _end in _find(data, start, end, b"idat")), 0)
    for place, _end in _find(data, start, end, b"iloc"):
        for item, in_small_data, pieces in _places(_Reader(data, place)):
            if item in kinds:
                yield _size(_content(data, small_data if in_small_data else 0, pieces), kinds[item])


def _content(data: bytes, origin: int, pieces: list[tuple[int, int]]) -> bytes:
    """As much of an item as is of use."""
    return b"".join(data[origin + at : origin + at + min(length, _LONGEST)] for at, length in pieces)


def _size(content: bytes, kind: bytes) -> tuple[int, int]:
    wide = content[1] & 1
    width, height = struct.unpack_from(">II" if wide else ">HH", content, _PUT_TOGETHER[kind])
    return width, height


def _kinds(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Id and kind of the items that are put together from others."""
    for place, _end in _find(data, start, end, b"iinf", b"infe"):
        item, _protection, kind = struct.unpack_from(">IH4s" if data[place] >= 3 else ">HH4s", data, place + 4)
        if kind in _PUT_TOGETHER:
            yield item, kind


def _places(read: _Reader) -> Iterator[tuple[int, bool, list[tuple[int, int]]]]:
    """Of each item in a box of locations: its id, whether they count from the box of small data, and (offset, length) of each piece."""
    version, _flags, sizes = read(1), read(3), read(2)
    wide = 2 if version < 2 else 4
    for _ in range(read(wide)):
        item, method = read(wide), read(2) & 15 if version else 0
        _source, base = read(2), read(sizes >> 4 & 15)
        pieces = []
        for _ in range(read(2)):
            _index = read(sizes & 15 if version else 0)
            pieces.append((base + read(sizes >> 12), read(sizes >> 8 & 15)))
        yield item, method == 1, pieces


class _Reader:
    """Numbers of so many bytes, one after the other."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position

    def __call__(self, size: int) -> int:
        self._position += size
        if self._position > len(self._data):
            raise IndexError
        return int.from_bytes(self._data[self._position - size : self._position])


def _find(data: bytes, start: int, end: int, name: bytes, *inside: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of what the boxes of that name hold, or those inside them."""
    for kind, first, last in counted(_boxes(data, start, end)):
        if kind == name and inside:
            # Of the boxes that hold boxes only this one has fields of its own: version, flags and how many there are.
            yield from _find(data, first + (0 if kind != b"iinf" else 8 if data[first] else 6), last, *inside)
        elif kind == name:
            yield first, last


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each box, and start and end of what it holds."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1:
            header, (size,) = 16, struct.unpack_from(">Q", data, start + 8)
        elif size == 0:
            size = end - start
        if size < header:
            return
        yield kind, start + header, min(end, start + size)
        start += size
