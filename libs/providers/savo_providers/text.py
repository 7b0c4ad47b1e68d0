"""Text from outside, as databases and JSON take it."""

from __future__ import annotations

__all__ = ["storable"]


def storable(text: str) -> str:
    """Without NUL, which PostgreSQL refuses, and without lone surrogates, which have no UTF-8."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
