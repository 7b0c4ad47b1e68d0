"""What a database's refusal means for whoever asked: wait, try again, make room, or mend a setting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from savo_runtime.errors import DependencyDownError, FatalError, RetryableError
from savo_runtime.storage.port import StorageFullError

__all__ = ["DEPENDENCY", "name_silence", "sqlstate", "translated_connect_errors", "translated_errors"]

DEPENDENCY = "database"
_LOCK_NOT_AVAILABLE = "55P03"


@contextmanager
def translated_errors() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        meaning = _meaning(error)
        if meaning is None:
            raise
        raise meaning from error


@contextmanager
def translated_connect_errors() -> Iterator[None]:
    """Connecting raises bare `OSError` and `TimeoutError`, which in the caller's own code could mean anything."""
    try:
        yield
    except OSError as error:
        raise DependencyDownError(DEPENDENCY, str(error) or type(error).__name__) from error


def name_silence(context: ExceptionContext) -> BaseException | None:
    """For SQLAlchemy's `handle_error`: the driver gave up on a statement. It raises a bare `TimeoutError`, which outside of here could be anybody's."""
    if not isinstance(context.original_exception, TimeoutError):
        return None
    asked = " ".join(str(context.statement or "the end of a transaction").split())
    return DependencyDownError(DEPENDENCY, f"no answer in the time that a statement has: {asked[:120]}")


def _meaning(error: Exception) -> Exception | None:
    """What the consumer must do about it; None for a bug of ours, which stays as it is."""
    if isinstance(error, PoolTimeoutError):
        return DependencyDownError(DEPENDENCY, "no free connection")
    state = sqlstate(error)
    words = str(getattr(error, "orig", None) or error).splitlines()[0]
    if state == "53100" or "disk is full" in words:
        return StorageFullError(f"the database has no room: {words}")
    if state == _LOCK_NOT_AVAILABLE:
        return DependencyDownError(DEPENDENCY, f"somebody else holds a lock: {_lock_waited_for(error) or words}")
    if state in ("40001", "40P01"):
        return RetryableError(words, reason="database-conflict")
    if state[:2] == "28" or state == "3D000":
        return FatalError(f"SAVO_DATABASE_URL is refused by the server: {words}")
    if _is_away(error, state, words):
        return DependencyDownError(DEPENDENCY, words)
    return None


def _is_away(error: Exception, state: str, words: str) -> bool:
    if getattr(error, "connection_invalidated", False) or state[:2] in ("08", "53", "57"):
        return True
    sqlite_trouble = ("database is locked", "unable to open database file", "disk I/O error", "readonly database")
    return any(trouble in words for trouble in sqlite_trouble) or ("connection" in words and "closed" in words)


def _lock_waited_for(error: Exception) -> str:
    """In the server's words, such as `while locking tuple (0,7) in relation "counts"`; empty for a lock on a whole table."""
    original = getattr(error, "orig", None) or error
    place = getattr(original, "context", None) or getattr(original.__cause__, "context", None)
    return str(place or "").partition("\n")[0]


def sqlstate(error: BaseException) -> str:
    original = getattr(error, "orig", None) or error
    return str(getattr(original, "sqlstate", None) or getattr(original.__cause__, "sqlstate", None) or "")
