"""PNG parser: chunks, each with a length, a kind, content and a checksum (W3C PNG third edition, section 5)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from savo_detection.errors import MalformedPhotoError, TruncatedPhotoError
from savo_detection.photos.containers.part_limit import limit_parts

__all__ = ["CHECKSUM_LENGTH", "SIGNATURE", "Chunk", "chunks", "encode_chunk"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"


Chunk = tuple[bytes, int, int, int]
"""Kind, and the offsets in the file of the chunk, of its content, and of its end after the checksum.

Unless strict, the end can be past the file's end.
"""

CHECKSUM_LENGTH = 4
"""Number of bytes between the end of a chunk's content and the end of the chunk."""
_LENGTH_AND_KIND = struct.Struct(">I4s")


def encode_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@limit_parts
def chunks(data: bytes, *, strict: bool) -> Iterator[Chunk]:
    """Every chunk after the signature, including IEND. Checksums are not checked.

    Raises `TruncatedPhotoError`, and `MalformedPhotoError` when strict.
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
        raise MalformedPhotoError(f"there is no chunk at byte {start}")
    if end > len(data):
        raise TruncatedPhotoError
