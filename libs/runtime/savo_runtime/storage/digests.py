"""SHA-256 digests of files: the name and the checksum of every object that is stored by its content."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["file_sha256"]


def file_sha256(path: Path) -> str:
    """The digest as hex digits. The file is read in chunks, so memory stays constant."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
