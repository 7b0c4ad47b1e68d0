"""Was a photo cut off on its way, or is it none? One is sent again, the other never will be taken.

A cut photo follows its format up to where its bytes end; noise behind a photo's first bytes does not get that far.
"""

from __future__ import annotations

import struct

from savo_gateway.segments import BrokenContainerError, TruncatedContainerError, without_metadata

__all__ = ["is_cut_off"]

_BOXES = frozenset({b"ftyp", b"meta", b"mdat", b"moov", b"moof", b"free", b"skip", b"wide", b"uuid", b"pdin", b"idat", b"iloc"})
"""What stands at the top of a HEIF file (ISO/IEC 14496-12 section 4.2, 23008-12)."""


def is_cut_off(data: bytes, media_type: str) -> bool:
    """True when all that came follows the format, and the end is missing. Decodes nothing."""
    if media_type == "image/heic":
        return _heif_ends_early(data)
    try:
        without_metadata(data, media_type)
    except TruncatedContainerError:
        return True
    except BrokenContainerError:
        return False
    return False


def _heif_ends_early(data: bytes) -> bool:
    at = 0
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name not in _BOXES:
            return False
        head = 16 if length == 1 else 8
        if length == 1 and at + head <= len(data):
            (length,) = struct.unpack_from(">Q", data, at + 8)
        if length == 0:  # it reaches to the end, wherever that is
            return False
        if length < head or at + head > len(data):
            return length == 1
        at += length
    return at != len(data)
