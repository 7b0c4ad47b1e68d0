"""Folders for the data of servers that tests start as processes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

__all__ = ["server_folder"]

_MEMORY = Path("/dev/shm")
_ROOM = 8 * 2**30
"""All servers of a test run together take less than a third of it."""


def server_folder(prefix: str) -> Path:
    """A new folder: in memory where there is room, because a server's tens of thousands of files are slow to delete."""
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if has_room else None))
