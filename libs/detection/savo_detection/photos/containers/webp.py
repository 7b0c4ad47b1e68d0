"""WebP parser: chunks of a RIFF file, each with a kind, a length and content (RFC 9649, section 2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from savo_detection.errors import MalformedPhotoError, TruncatedPhotoError
from savo_detection.photos.containers.part_limit import limit_parts

__all__ = ["Chunk", "chunks", "encode_chunk", "encode_file"]

_HEADER = 12
"""Number of bytes of RIFF, the file's size and WEBP."""
_FIRST_KINDS = (b"VP8 ", b"VP8L", b"VP8X")


Chunk = tuple[bytes, int, int]
"""Kind, and the offsets in the file of the content and of its end. A byte of padding can follow the content.

Unless strict, the end can be past the file's end.
"""

_KIND_AND_LENGTH = struct.Struct("<4sI")


def encode_chunk(kind: bytes, content: bytes | memoryview) -> bytes:
    return b"".join((kind, struct.pack("<I", len(content)), content, b"\x00" * (len(content) % 2)))


def encode_file(encoded_chunks: list[bytes]) -> bytes:
    size = len(b"WEBP") + sum(map(len, encoded_chunks))
    return b"".join((b"RIFF", struct.pack("<I", size), b"WEBP", *encoded_chunks))


@limit_parts
def chunks(data: bytes, *, strict: bool) -> Iterator[Chunk]:
    """Every chunk up to the end that the RIFF header gives.

    Raises `TruncatedPhotoError`, and `MalformedPhotoError` when strict.
    """
    (size,) = struct.unpack_from("<I", data, 4)
    file_end = size + 8
    if strict and not any(kind.startswith(data[_HEADER : _HEADER + 4]) for kind in _FIRST_KINDS):
        raise MalformedPhotoError("its first chunk holds no picture")
    if file_end > len(data):
        raise TruncatedPhotoError
    position = _HEADER
    while position + 8 <= file_end:
        kind, length = _KIND_AND_LENGTH.unpack_from(data, position)
        content = position + 8
        if strict and content + length > file_end:
            raise TruncatedPhotoError
        yield kind, content, content + length
        position = content + length + length % 2
