"""The orientation in an EXIF block, which is a TIFF file of its own (TIFF 6.0 section 2, Exif 2.32)."""

from __future__ import annotations

import struct

__all__ = ["NAME", "UPRIGHT", "orientation_block", "read_orientation"]

NAME = b"Exif\0\0"
"""Stands before the block in a JPEG, and before that of some WebPs."""
UPRIGHT = 1


class _ByteOrder:
    """Readers of the numbers in a TIFF file. `sign` is that of `struct`: < or >."""

    def __init__(self, sign: str) -> None:
        self.short = struct.Struct(sign + "H")
        self.long = struct.Struct(sign + "I")
        self.entry = struct.Struct(sign + "HHIH")


_BYTE_ORDERS = {b"II": _ByteOrder("<"), b"MM": _ByteOrder(">")}
_ORIENTATION_TAG = 0x0112
_SHORT = 3


def read_orientation(tiff: bytes) -> int:
    """Orientation 1…8 of an EXIF block that begins with the TIFF header; 1 where it is absent or not understood."""
    order = _BYTE_ORDERS.get(tiff[:2])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = order.long.unpack_from(tiff, 4)
        (entries,) = order.short.unpack_from(tiff, directory)
        for position in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, _kind, _count, value = order.entry.unpack_from(tiff, position)
            if tag == _ORIENTATION_TAG:
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        return UPRIGHT
    return UPRIGHT


def orientation_block(orientation: int) -> bytes:
    """An EXIF block, TIFF header first, that holds the orientation and nothing else."""
    return b"MM\x00\x2a\x00\x00\x00\x08" + struct.pack(">HHHIHHI", 1, _ORIENTATION_TAG, _SHORT, 1, orientation, 0, 0)
