"""Replay id of the current record: set by the consumer, copied to every event that the handler publishes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["current_replay", "within_replay"]

_current: ContextVar[str | None] = ContextVar("savo_replay", default=None)


def current_replay() -> str | None:
    """Id of the replay that the current record comes from; None for a live record."""
    return _current.get()


@contextmanager
def within_replay(replay: str | None) -> Iterator[None]:
    token = _current.set(replay)
    try:
        yield
    finally:
        _current.reset(token)
