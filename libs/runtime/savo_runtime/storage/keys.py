"""Validation of object keys, the same for every store."""

from __future__ import annotations

MAX_KEY_BYTES = 1024
RESERVED = ".savo"
"""First part of keys that the store reserves for its own files."""


def valid_key(key: str) -> str:
    """Returns the key. Raises `ValueError` when it is absolute, too long, or has an empty, `.` or `..` part."""
    parts = key.split("/")
    if not key or len(key.encode()) > MAX_KEY_BYTES or any(len(part.encode()) > 255 for part in parts):
        raise ValueError(f"key {key[:80]!r} must have 1 to {MAX_KEY_BYTES} bytes, and at most 255 between two slashes")
    if any(part in ("", ".", "..") for part in parts) or "\\" in key or not key.isprintable():
        raise ValueError(
            f"key {key!r} must be relative and printable, with slashes and without empty, '.' or '..' parts"
        )
    if parts[0].startswith(RESERVED):
        raise ValueError(f"key {key!r} must not start with {RESERVED!r}, which is reserved for the store")
    return key
