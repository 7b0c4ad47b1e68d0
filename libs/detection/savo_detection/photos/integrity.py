"""Was a photo cut off on its way, or is it none? One is sent again, the other never will be taken.

A cut photo follows its format up to where its bytes end; noise behind a photo's first bytes does not get that far.
"""

from __future__ import annotations

from savo_detection.photos.metadata import BrokenContainerError, TruncatedContainerError, without_metadata

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
        length, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if length == 1:  # too long for four bytes: eight more say how long
            if at + 16 > len(data):
                return name in _BOXES
            length = int.from_bytes(data[at + 8 : at + 16])
        # 0 is a box that reaches to the end, wherever that is.
        if name not in _BOXES or length < 8:
            return False
        at += length
    return at != len(data)
