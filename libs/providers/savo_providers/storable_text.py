"""Cleaning of text from outside for databases and JSON."""

from __future__ import annotations

__all__ = ["storable"]


def storable(text: str) -> str:
    """The text without NUL, which PostgreSQL rejects, and without lone surrogates, which UTF-8 cannot encode."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
