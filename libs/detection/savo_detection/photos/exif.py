"""EXIF orientation: reader, and encoder of an EXIF block that holds nothing else (TIFF 6.0 section 2, Exif 2.32)."""

from __future__ import annotations

import struct

__all__ = ["NAME", "UPRIGHT", "orientation_block", "read_orientation"]

NAME = b"Exif\0\0"
"""Prefix of the EXIF block in a JPEG and in some WebPs."""
UPRIGHT = 1

_ORIENTATION_TAG = 0x0112
_SHORT = 3
_BYTE_KINDS = frozenset({1, 6})
_LONG_KINDS = frozenset({4, 9})
"""Integer types that some programs write instead of the standard's SHORT."""


class _ByteOrder:
    """Readers of the numbers in a TIFF file. `sign`: the byte order of `struct`, < or >."""

    def __init__(self, sign: str) -> None:
        self.short = struct.Struct(sign + "H")
        self.long = struct.Struct(sign + "I")
        self.entry = struct.Struct(sign + "HHI")


_BYTE_ORDERS = {b"II": _ByteOrder("<"), b"MM": _ByteOrder(">")}


def read_orientation(tiff: bytes) -> int:
    """Orientation (1…8) in an EXIF block that begins with the TIFF header; 1 when it is absent or invalid."""
    order = _BYTE_ORDERS.get(tiff[:2])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = order.long.unpack_from(tiff, 4)
        (entries,) = order.short.unpack_from(tiff, directory)
        for position in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, _count = order.entry.unpack_from(tiff, position)
            if tag == _ORIENTATION_TAG:
                value = _value(tiff, position + 8, kind, order)
                return value if 1 <= value <= 8 else UPRIGHT
    except (struct.error, IndexError):
        return UPRIGHT
    return UPRIGHT


def _value(tiff: bytes, position: int, kind: int, order: _ByteOrder) -> int:
    """The number in an entry's left-aligned field of four bytes."""
    if kind in _BYTE_KINDS:
        return tiff[position]
    number: tuple[int] = (order.long if kind in _LONG_KINDS else order.short).unpack_from(tiff, position)
    return number[0]


def orientation_block(orientation: int) -> bytes:
    """An EXIF block that begins with the TIFF header and contains the orientation only."""
    return b"MM\x00\x2a\x00\x00\x00\x08" + struct.pack(">HHHIHHI", 1, _ORIENTATION_TAG, _SHORT, 1, orientation, 0, 0)
