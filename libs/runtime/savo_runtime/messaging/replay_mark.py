"""The mark of a replay while a record is worked on: set by whoever consumes it, passed on by whatever is published because of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["current_replay", "within_replay"]

_current: ContextVar[str | None] = ContextVar("savo_replay", default=None)


def current_replay() -> str | None:
    """The id of the replay that the record at work comes from; None for a live one."""
    return _current.get()


@contextmanager
def within_replay(replay: str | None) -> Iterator[None]:
    token = _current.set(replay)
    try:
        yield
    finally:
        _current.reset(token)
