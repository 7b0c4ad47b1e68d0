"""Translation of database errors into the product's errors, by what the caller must do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from savo_runtime.errors import DependencyDownError, FatalError, RetryableError
from savo_runtime.storage.port import StorageFullError

__all__ = ["DEPENDENCY", "sqlstate", "translated_connect_errors", "translated_errors", "translated_timeout"]

DEPENDENCY = "database"
_LOCK_NOT_AVAILABLE = "55P03"


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raises the product's error for an error of the driver or the pool. Any other error is a bug and is kept."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        translated = _translated(error)
        if translated is None:
            raise
        raise translated from error


@contextmanager
def translated_connect_errors() -> Iterator[None]:
    """Raises `DependencyDownError` for the bare `OSError` and `TimeoutError` of a failed connection attempt.

    Wrap only the connecting: in the caller's own code these errors may come from anywhere.
    """
    try:
        yield
    except OSError as error:
        raise DependencyDownError(DEPENDENCY, str(error) or type(error).__name__) from error


def translated_timeout(context: ExceptionContext) -> BaseException | None:
    """Handler of SQLAlchemy's `handle_error`: names the statement whose timeout the driver reports.

    The driver raises a bare `TimeoutError`, which looks like one of the caller's own.
    """
    if not isinstance(context.original_exception, TimeoutError):
        return None
    statement = " ".join(str(context.statement or "the end of a transaction").split())
    return DependencyDownError(DEPENDENCY, f"the server did not answer in time: {statement[:120]}")


def _translated(error: Exception) -> Exception | None:
    """The product's error; None for a bug, which keeps its own."""
    if isinstance(error, PoolTimeoutError):
        return DependencyDownError(DEPENDENCY, "no free connection")
    state = sqlstate(error)
    message = str(getattr(error, "orig", None) or error).splitlines()[0]
    if state == "53100" or "disk is full" in message:
        return StorageFullError(f"the database has no room: {message}")
    if state == _LOCK_NOT_AVAILABLE:
        return DependencyDownError(DEPENDENCY, f"another transaction holds a lock: {_lock_context(error) or message}")
    if state in ("40001", "40P01"):
        return RetryableError(message, reason="database-conflict")
    if state[:2] == "28" or state == "3D000":
        return FatalError(f"SAVO_DATABASE_URL is refused by the server: {message}")
    if _is_unavailable(error, state, message):
        return DependencyDownError(DEPENDENCY, message)
    return None


def _is_unavailable(error: Exception, state: str, message: str) -> bool:
    if getattr(error, "connection_invalidated", False) or state[:2] in ("08", "53", "57"):
        return True
    sqlite_messages = ("database is locked", "unable to open database file", "disk I/O error", "readonly database")
    return any(text in message for text in sqlite_messages) or ("connection" in message and "closed" in message)


def _lock_context(error: Exception) -> str:
    """The server's text, such as `while locking tuple (0,7) in relation "counts"`; empty for the lock of a table."""
    original = getattr(error, "orig", None) or error
    context = getattr(original, "context", None) or getattr(original.__cause__, "context", None)
    return str(context or "").partition("\n")[0]


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's five-character error code; empty where the error has none."""
    original = getattr(error, "orig", None) or error
    return str(getattr(original, "sqlstate", None) or getattr(original.__cause__, "sqlstate", None) or "")
