"""SQLite driver: aiosqlite with one round trip to the connection's thread for a statement, instead of four.

aiosqlite creates the cursor, executes, fetches and closes in separate calls on the connection's thread, and a round
trip takes longer than most statements. Here the first statement also begins the transaction, and every statement
returns its first rows. Calls that these rows answer need no round trip, and the end of a read-only transaction is not
waited for.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import aiosqlite
from aiosqlite.context import Result, contextmanager

__all__ = ["connector"]

FIRST_ROWS = 256
"""Rows fetched with their statement. Further rows are fetched on demand, so that a long result stays out of memory."""


def connector(path: Path | str) -> Callable[[], Awaitable[aiosqlite.Connection]]:
    """A connection factory for `create_async_engine(async_creator=…)`."""

    async def connect() -> aiosqlite.Connection:
        return await _Connection(partial(sqlite3.connect, str(path)))

    return connect


class _Connection(aiosqlite.Connection):
    _begin: str | None = None
    """BEGIN statement to execute before the next statement."""
    _only_reads = False
    _read_has_ended = False
    """The commit of a read-only transaction is queued: the thread runs it before any later call."""
    _left_running = False
    """A statement whose caller was cancelled still runs, and may begin a transaction."""

    def __init__(self, opened: Callable[[], sqlite3.Connection]) -> None:
        self._opened: sqlite3.Connection | None = None

        def keep() -> sqlite3.Connection:
            self._opened = opened()
            return self._opened

        super().__init__(keep, iter_chunk_size=FIRST_ROWS)
        self._thread.daemon = True  # does not keep a process from exiting

    def stop(self) -> asyncio.Future[Any] | None:
        # aiosqlite leaks a connection whose caller was cancelled while it was being opened.
        self._tx.put_nowait((None, self._close_opened))
        return super().stop()

    def _close_opened(self) -> None:
        """Runs on the connection's thread. Closing twice is harmless."""
        if self._opened is not None:
            self._opened.close()

    def new_cursor(self) -> sqlite3.Cursor:
        return self._conn.cursor()

    def cursor(self) -> Result[Any]:
        return cast("Result[Any]", _cursor(self))

    def begin_with_next(self, *, read_only: bool) -> None:
        """Begin a transaction with the next statement; a writer takes the write lock with it."""
        self._begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
        self._only_reads, self._read_has_ended = read_only, False

    def begin_if_due(self) -> None:
        """Runs on the connection's thread."""
        begin, self._begin = self._begin, None
        if begin:
            self._conn.execute(begin)

    async def commit(self) -> None:
        if self._begin:
            self._begin = None
        elif self._only_reads:
            self._tx.put_nowait((None, self._conn.commit))
            self._read_has_ended = True
        else:
            await super().commit()

    async def rollback(self) -> None:
        """The pool calls this after every commit; without a transaction it does nothing."""
        if self._left_running or (self._conn.in_transaction and not self._read_has_ended):
            await super().rollback()
            self._left_running = False
        self._begin = None

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        except asyncio.CancelledError:
            self._left_running = True
            raise


@contextmanager
async def _cursor(connection: _Connection) -> _Cursor:
    return _Cursor(connection)


class _Cursor(aiosqlite.Cursor):
    """A cursor whose sqlite3 cursor is created on the connection's thread, with the first statement."""

    _cursor: sqlite3.Cursor | None  # type: ignore[assignment]

    def __init__(self, connection: _Connection) -> None:
        super().__init__(connection, cast("sqlite3.Cursor", None))
        self._connection = connection
        self._rows: list[Any] = []
        self._exhausted = True

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> aiosqlite.Cursor:
        self._rows, self._exhausted = await self._execute(self._run, sql, parameters or ())
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> aiosqlite.Cursor:
        await self._execute(self._run_many, sql, parameters)
        return self

    async def fetchone(self) -> Any:
        return next(iter(await self.fetchmany(1)), None)

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        wanted = size or self.arraysize
        if not self._rows and not self._exhausted:
            self._rows, self._exhausted = await self._execute(self._next_rows, max(wanted, FIRST_ROWS))
        rows, self._rows = list(islice(self._rows, wanted)), self._rows[wanted:]
        return rows

    async def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        if not self._exhausted:
            rows += await self._execute(self._sqlite_cursor().fetchall)
            self._exhausted = True
        return rows

    async def close(self) -> None:
        # A statement whose rows are all fetched holds no lock: the garbage collector may close it.
        if self._cursor is not None and not self._exhausted:
            await self._execute(self._cursor.close)
        self._rows, self._exhausted = [], True

    @property
    def description(self) -> Any:
        return self._cursor.description if self._cursor is not None else None

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount if self._cursor is not None else -1

    @property
    def lastrowid(self) -> int | None:
        return self._cursor.lastrowid if self._cursor is not None else None

    def _sqlite_cursor(self) -> sqlite3.Cursor:
        if self._cursor is None:
            self._cursor = self._connection.new_cursor()
        return self._cursor

    def _run(self, sql: str, parameters: Any) -> tuple[list[Any], bool]:
        self._connection.begin_if_due()
        cursor = self._sqlite_cursor().execute(sql, parameters)
        return self._next_rows(FIRST_ROWS) if cursor.description else ([], True)

    def _run_many(self, sql: str, parameters: Any) -> None:
        self._connection.begin_if_due()
        self._sqlite_cursor().executemany(sql, parameters)

    def _next_rows(self, wanted: int) -> tuple[list[Any], bool]:
        rows = self._sqlite_cursor().fetchmany(wanted)
        return rows, len(rows) < wanted
