"""Words from outside, as databases and JSON take them, and names as people read them."""

from __future__ import annotations

__all__ = ["name_of", "storable"]

_NAMES = {"google": "Google", "openai": "OpenAI"}


def storable(text: str) -> str:
    """Without NUL, which PostgreSQL refuses, and without half characters (lone surrogates), which have no UTF-8."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def name_of(provider: str) -> str:
    return _NAMES.get(provider, provider)
