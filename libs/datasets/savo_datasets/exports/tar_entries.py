"""Entries of a tar archive (GNU format) as bytes, for archives that are written to a stream."""

from __future__ import annotations

import tarfile
from datetime import datetime

__all__ = ["TAR_END", "tar_header", "tar_padding"]

TAR_END = bytes(2 * tarfile.BLOCKSIZE)
_MODE = 0o644


def tar_header(name: str, size: int, modified: datetime) -> bytes:
    """The block before a file's content."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, int(modified.timestamp()), _MODE
    return entry.tobuf(tarfile.GNU_FORMAT)


def tar_padding(size: int) -> bytes:
    """The zeros after a file's content."""
    return bytes(-size % tarfile.BLOCKSIZE)
