"""What a key may be, the same for every store."""

from __future__ import annotations

MOST_BYTES = 1024
RESERVED = ".savo"


def valid_key(key: str) -> str:
    """The key itself. Raises `ValueError` for one that is absolute, climbs, has an empty part, or is too long."""
    parts = key.split("/")
    if not key or len(key.encode()) > MOST_BYTES or any(len(part.encode()) > 255 for part in parts):
        raise ValueError(f"key {key[:80]!r} must have 1 to {MOST_BYTES} bytes, and at most 255 between two slashes")
    if any(part in ("", ".", "..") for part in parts) or "\\" in key or not key.isprintable():
        raise ValueError(f"key {key!r} must be relative, slash-separated, without empty, '.' or '..' parts")
    if parts[0].startswith(RESERVED):
        raise ValueError(f"key {key!r}: names that start with {RESERVED!r} are the store's own")
    return key
