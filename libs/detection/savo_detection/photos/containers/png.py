"""PNG: chunks, each a length, a kind, its content and a checksum (W3C PNG third edition, section 5)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from savo_detection.errors import MalformedPhotoError, TruncatedPhotoError
from savo_detection.photos.containers.parts import bounded

__all__ = ["CHECKSUM_LENGTH", "SIGNATURE", "Chunk", "chunks", "encode_chunk"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"


Chunk = tuple[bytes, int, int, int]
"""Kind, and the offsets in the file of the chunk, of its content, and of its end after the checksum.

Without a strict walk the end may lie past the file's.
"""

CHECKSUM_LENGTH = 4
"""Bytes, between the end of a chunk's content and its own."""
_LENGTH_AND_KIND = struct.Struct(">I4s")


def encode_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@bounded
def chunks(data: bytes, *, strict: bool) -> Iterator[Chunk]:
    """Every chunk after the signature, up to and with IEND. Checksums are not compared.

    Raises `TruncatedPhotoError`, and `MalformedPhotoError` from a strict walk.
    """
    position, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        start = position
        if start + 8 > len(data):
            raise TruncatedPhotoError
        length, kind = _LENGTH_AND_KIND.unpack_from(data, start)
        position = start + 8 + length + CHECKSUM_LENGTH
        if strict:
            _check(data, kind, start, position)
        yield kind, start, start + 8, position


def _check(data: bytes, kind: bytes, start: int, end: int) -> None:
    if not kind.isalpha():
        raise MalformedPhotoError(f"no chunk at byte {start}")
    if end > len(data):
        raise TruncatedPhotoError
