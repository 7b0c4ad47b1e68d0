"""Database of one service: an SQLite file when embedded, else a PostgreSQL schema. The same code runs on both.

SQLite has a single writer. A transaction that may write takes the lock at its start, so that it cannot fail halfway
because of another writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from functools import cache
from typing import Any

from opentelemetry.trace import SpanKind
from sqlalchemy import Connection, CursorResult, DateTime, Dialect, Insert, Table, TypeDecorator, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from savo_runtime.database_errors import DEPENDENCY, translated_connect_errors, translated_errors, translated_timeout
from savo_runtime.errors import DependencyDownError
from savo_runtime.settings import RuntimeSettings
from savo_runtime.sqlite_driver import connector
from savo_runtime.telemetry.spans import step

__all__ = ["Database", "UtcDateTime", "insert_all", "insert_once", "postgresql_engine", "upsert"]

LOCK_WAIT_SECONDS = 10.0
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 30.0
_READ_ONLY = "savo_read_only"


class UtcDateTime(TypeDecorator[datetime]):
    """Column type for aware UTC times, on PostgreSQL and on SQLite, which stores no time zone.

    A naive time raises `ValueError`.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone: pass an aware time, such as datetime.now(UTC)")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Database:
    """The tables of one service. The first session connects."""

    def __init__(self, url: str | URL, service: str) -> None:
        self.url = make_url(url)
        self.service = service
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(self.url) if self.is_sqlite else postgresql_engine(self.url, service)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        self._writer = asyncio.Lock()
        self._system = "sqlite" if self.is_sqlite else "postgresql"

    @classmethod
    def open(cls, settings: RuntimeSettings, service: str) -> Database:
        """The database that the settings name: SAVO_DATABASE_URL, else `<data_dir>/db/<service>.sqlite3`.

        A sandbox has schemas and files of its own.
        """
        if settings.database_url:
            url = make_url(settings.database_url.get_secret_value())
            schema = f"sandbox_{settings.sandbox.replace('-', '_')}_{service}" if settings.sandbox else service
            return cls(url.set(drivername="postgresql+asyncpg"), schema)
        path = settings.own_dir / "db" / f"{service}.sqlite3"
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(URL.create("sqlite+aiosqlite", database=str(path)), service)

    @asynccontextmanager
    async def session(self, *, read_only: bool = False) -> AsyncIterator[AsyncSession]:
        """One transaction: commits at the end, rolls back on an error. Sessions do not nest.

        Raises `DependencyDownError("database")` when the server or file is unavailable, `StorageFullError` when the
        disk is full, `RetryableError` when the transaction conflicts with another, `FatalError` when the login is
        refused.
        """
        with self._traced(read_only), translated_errors():
            async with self._write_access(read_only), self._sessions() as session, session.begin():
                with translated_connect_errors():
                    await session.connection(execution_options={_READ_ONLY: read_only})
                yield session

    def _traced(self, read_only: bool) -> AbstractContextManager[object]:
        """A span for a write transaction only: reads are frequent and short."""
        return (
            nullcontext()
            if read_only
            else step("database transaction", kind=SpanKind.CLIENT, attributes={"db.system.name": self._system})
        )

    async def check(self) -> None:
        """Run a query. Raises `DependencyDownError` when it gets no answer within five seconds."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS), self.session(read_only=True) as session:
                await session.execute(text("SELECT 1"))
        except TimeoutError:
            raise DependencyDownError(DEPENDENCY, f"no answer in {CONNECT_SECONDS:g} s") from None

    async def close(self) -> None:
        await self.engine.dispose()

    def _write_access(self, read_only: bool) -> AbstractAsyncContextManager[None]:
        return self._sqlite_writer() if self.is_sqlite and not read_only else nullcontext()

    @asynccontextmanager
    async def _sqlite_writer(self) -> AsyncIterator[None]:
        # The writers of this process queue here, in order. SQLite itself polls for its lock, which can starve a writer.
        try:
            async with asyncio.timeout(LOCK_WAIT_SECONDS):
                await self._writer.acquire()
        except TimeoutError:
            raise DependencyDownError(
                DEPENDENCY,
                f"no write lock on {self.service}'s SQLite database within {LOCK_WAIT_SECONDS:g} s:"
                " other transactions of this process hold it; use PostgreSQL if this repeats",
            ) from None
        try:
            yield
        finally:
            self._writer.release()


async def insert_all(
    session: AsyncSession, table: type[DeclarativeBase] | Table, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert rows without SQLAlchemy's unit of work, whose overhead for one object is as large as the insert itself."""
    if rows:
        await session.execute(_insert(_table(table)), [dict(row) for row in rows])


async def insert_once(session: AsyncSession, table: type[DeclarativeBase] | Table, values: Mapping[str, Any]) -> bool:
    """Insert a row unless a unique key exists already; returns whether it was inserted.

    On PostgreSQL, waits for another open transaction that inserts the same key.
    """
    result = await session.execute(_insert_once(_table(table), _dialect(session)), dict(values))
    return isinstance(result, CursorResult) and result.rowcount == 1


async def upsert(
    session: AsyncSession, table: type[DeclarativeBase] | Table, values: Mapping[str, Any], key: Sequence[str]
) -> None:
    """Insert a row, or update the other columns of the row with the same `key` (columns with a unique index).

    Objects that are loaded already are not refreshed.
    """
    await session.execute(_upsert(_table(table), _dialect(session), tuple(values), tuple(key)), dict(values))


def _table(table: type[DeclarativeBase] | Table) -> Table:
    found = table if isinstance(table, Table) else inspect(table).local_table
    assert isinstance(found, Table)
    return found


def _dialect(session: AsyncSession) -> str:
    return session.get_bind().dialect.name


# Statements are cached, since building one takes as long as running it. `inline`: the new primary key is not needed.
@cache
def _insert(table: Table) -> Insert:
    return table.insert().inline()


@cache
def _insert_once(table: Table, dialect: str) -> Insert:
    insert = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    return insert.on_conflict_do_nothing().inline()


@cache
def _upsert(table: Table, dialect: str, columns: tuple[str, ...], key: tuple[str, ...]) -> Insert:
    insert = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    others = {name: insert.excluded[name] for name in columns if name not in key}
    if others:
        return insert.on_conflict_do_update(index_elements=list(key), set_=others).inline()
    return insert.on_conflict_do_nothing(index_elements=list(key)).inline()


def _sqlite_engine(url: URL) -> AsyncEngine:
    assert url.database, "an SQLite file has a path"
    engine = create_async_engine(
        url, pool_timeout=LOCK_WAIT_SECONDS, pool_size=10, async_creator=connector(url.database)
    )
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy begins transactions explicitly, not sqlite3 at the first write
    cursor = connection.cursor()
    # NORMAL: with WAL a commit survives a crash of the process. A power cut may lose the last commits, which is
    # acceptable for the embedded plan, whose broker loses its records as well. FULL costs 30 ms a commit on a laptop's
    # disk.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"busy_timeout={int(LOCK_WAIT_SECONDS * 1000)}",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    raw: Any = connection.connection.driver_connection
    raw.begin_with_next(read_only=connection.get_execution_options().get(_READ_ONLY, False))


def postgresql_engine(url: URL, service: str, **options: Any) -> AsyncEngine:
    """An engine whose connections work in the schema of `service`, with timeouts for connecting, statements and locks.

    `options` of `create_async_engine` replace the default pool.
    """
    arguments = {
        "timeout": CONNECT_SECONDS,
        "command_timeout": COMMAND_SECONDS,
        "server_settings": {
            "search_path": f'"{service}"',
            "application_name": f"savo-{service}",
            # Milliseconds. The server's own timeout names the lock in its error.
            "lock_timeout": f"{LOCK_WAIT_SECONDS * 1000:.0f}",
        },
    }
    if not options:
        options = {"pool_pre_ping": True, "pool_size": 5, "max_overflow": 10, "pool_timeout": LOCK_WAIT_SECONDS}
    engine = create_async_engine(url.set(drivername="postgresql+asyncpg"), connect_args=arguments, **options)
    event.listen(engine.sync_engine, "handle_error", translated_timeout)
    return engine
