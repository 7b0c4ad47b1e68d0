"""Members of a gzip file (RFC 1952): each has a name in its header, and together they are one gzip file.

A client that lost its connection continues at the member that it did not receive completely: `complete_part` finds it.
Photos do not compress, so their members hold stored blocks (RFC 1951, 3.2.4), which cost a copy and a checksum.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

__all__ = ["CompressedMember", "Member", "Part", "StoredMember", "complete_part", "last_member"]

_MAGIC = b"\x1f\x8b\x08"
_HAS_NAME = 0x08
_HEADER = struct.Struct("<3sBLBB")
_TRAILER = struct.Struct("<LL")
_BLOCK = 65_535
"""Most bytes of a stored block."""
_EMPTY_BLOCK = b"\x00\x00\x00\xff\xff"
_LAST_BLOCK = b"\x01\x00\x00\xff\xff"
_BLOCK_HEADER = struct.Struct("<BHH")
_LEVEL = 6
_CHUNK = 1 << 20
_TAIL = 1 << 16
"""Bytes at the end of a file in which `last_member` looks for a member's beginning."""


class Member(Protocol):
    """A member that is being written. `size`: bytes of its content so far."""

    size: int

    def begin(self) -> bytes: ...

    def add(self, *parts: bytes) -> bytes: ...

    def end(self) -> bytes: ...


@dataclass
class StoredMember:
    """A member without compression."""

    name: str
    size: int = 0
    _crc: int = 0

    def begin(self) -> bytes:
        return _header(self.name)

    def add(self, *parts: bytes) -> bytes:
        """The bytes to send for more content."""
        blocks: list[bytes | memoryview] = []
        for part in parts:
            self._crc = zlib.crc32(part, self._crc)
            self.size += len(part)
            view = memoryview(part)
            for start in range(0, len(part), _BLOCK):
                block = view[start : start + _BLOCK]
                blocks += (_BLOCK_HEADER.pack(0, len(block), len(block) ^ 0xFFFF), block)
        return b"".join(blocks)

    @staticmethod
    def nothing() -> bytes:
        """An empty block: bytes without content, which keep a connection alive."""
        return _EMPTY_BLOCK

    def end(self) -> bytes:
        return _LAST_BLOCK + _TRAILER.pack(self._crc, self.size & 0xFFFFFFFF)


@dataclass
class CompressedMember:
    """A member of text."""

    name: str
    size: int = 0
    _crc: int = 0
    _deflate: zlib._Compress = field(default_factory=lambda: zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS))

    def begin(self) -> bytes:
        return _header(self.name)

    def add(self, *parts: bytes) -> bytes:
        """The bytes to send for more content; possibly none yet."""
        sent = []
        for part in parts:
            self._crc = zlib.crc32(part, self._crc)
            self.size += len(part)
            sent.append(self._deflate.compress(part))
        return b"".join(sent)

    def nothing(self) -> bytes:
        """As `StoredMember.nothing`, after what was added and is not sent yet."""
        return self._deflate.flush(zlib.Z_SYNC_FLUSH) + _EMPTY_BLOCK

    def end(self) -> bytes:
        return self._deflate.flush() + _TRAILER.pack(self._crc, self.size & 0xFFFFFFFF)


@dataclass(frozen=True)
class Part:
    """The beginning of an interrupted download that is kept, and the member to continue with."""

    bytes: int
    next_name: str | None
    """None: begin anew."""


def complete_part(path: Path) -> Part:
    """How much of an interrupted download is usable. Reads and checks it; memory stays constant.

    The download continues with the last member whose name is known: the incomplete or damaged one, or the last complete
    one where the file ends with it.
    """
    part = Part(0, None)
    with path.open("rb") as file:
        for start in _starts(file):
            if (name := _name_at(file, start)) is not None:
                part = Part(start, name)
    return part


def last_member(path: Path) -> tuple[str, bytes] | None:
    """Name and content of the last member, if it is complete and at most 64 KiB long; else None."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL))
        tail = file.read()
    start = len(tail)
    while (start := tail.rfind(_MAGIC + bytes([_HAS_NAME]), 0, start)) >= 0:
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            content = inflate.decompress(tail[start:])
        except zlib.error:
            continue  # these bytes are content of a member, not its beginning
        name = _parse_name(tail[start:])
        if inflate.eof and not inflate.unused_data and name is not None:
            return name, content
    return None


def _header(name: str) -> bytes:
    return _HEADER.pack(_MAGIC, _HAS_NAME, 0, 0, 255) + name.encode("latin-1") + b"\x00"


def _starts(file: BinaryIO) -> Iterator[int]:
    """Position of each member, up to the first incomplete or damaged one."""
    position = 0
    yield position
    while length := _member_length(file, position):
        position += length
        yield position


def _member_length(file: BinaryIO, position: int) -> int:
    """Bytes of the member at the position; 0 where it is incomplete or damaged."""
    file.seek(position)
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
    read = 0
    while not inflate.eof:
        chunk = file.read(_CHUNK)
        if not chunk:
            return 0
        read += len(chunk)
        try:
            inflate.decompress(chunk)
        except zlib.error:
            return 0
    return read - len(inflate.unused_data)


def _name_at(file: BinaryIO, position: int) -> str | None:
    file.seek(position)
    return _parse_name(file.read(_HEADER.size + 256))


def _parse_name(data: bytes) -> str | None:
    if not data.startswith(_MAGIC) or len(data) <= _HEADER.size or not data[3] & _HAS_NAME:
        return None
    name, end, _ = data[_HEADER.size :].partition(b"\x00")
    return name.decode("latin-1") if end else None
