"""System clock: the `Callable[[], datetime]` that services use outside of tests."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["utc_now"]


def utc_now() -> datetime:
    """The current time, with the time zone UTC."""
    return datetime.now(UTC)
