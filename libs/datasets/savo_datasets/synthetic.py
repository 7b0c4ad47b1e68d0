"""Synthetic photos: marked in their metadata, and only ever used for training.

The mark is IPTC's `DigitalSourceType`, as image generators write it: an XMP packet with the address of the type. XMP
packets are made to be found without parsing the file around them (ISO 16684-1, "packet scanning").
"""

from __future__ import annotations

import re

__all__ = ["is_synthetic", "mark_synthetic"]

_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_SYNTHETIC_TYPES = (
    "algorithmicMedia",
    "trainedAlgorithmicMedia",
    "compositeSynthetic",
    "compositeWithTrainedAlgorithmicMedia",
)
_MARK = re.compile(f"{re.escape(_TYPES)}(?:{'|'.join(_SYNTHETIC_TYPES)})".encode())
_SEARCHED_BYTES = 1 << 16
"""Metadata stands before the pixels. A JPEG segment has at most this size."""

_PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{_TYPES}algorithmicMedia"/></rdf:RDF></x:xmpmeta>'
).encode()
_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0" + _PACKET
_START, _JFIF, _APP1 = b"\xff\xd8", b"\xff\xe0", b"\xff\xe1"


def is_synthetic(photo: bytes) -> bool:
    """Whether the photo's metadata say that a program drew it, in whole or in part."""
    return _MARK.search(photo, 0, _SEARCHED_BYTES) is not None


def mark_synthetic(jpeg: bytes) -> bytes:
    """The JPEG, marked as drawn by a program. Its pixels are unchanged. Raises `ValueError` for another format."""
    if not jpeg.startswith(_START):
        raise ValueError("only a JPEG can be marked as synthetic")
    position = len(_START)
    if jpeg[position:].startswith(_JFIF):  # stays the first segment, as its standard asks
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    length = (len(_SEGMENT) + 2).to_bytes(2, "big")
    return jpeg[:position] + _APP1 + length + _SEGMENT + jpeg[position:]
