"""The time of day: what `Callable[[], datetime]` is outside of tests."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["utc_now"]


def utc_now() -> datetime:
    """Now, with the zone UTC."""
    return datetime.now(UTC)
