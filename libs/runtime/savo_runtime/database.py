"""One database for each service: an SQLite file when embedded, a PostgreSQL schema otherwise. The same code runs on both.

SQLite has one writer: a transaction that may write takes the lock at its start, so that none fails half-way for another's sake.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg  # type: ignore[import-untyped]
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from opentelemetry.trace import SpanKind
from sqlalchemy import Connection, DateTime, Dialect, Table, TypeDecorator, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from savo_runtime.errors import DependencyDownError, FatalError, RetryableError
from savo_runtime.settings import RuntimeSettings
from savo_runtime.sqlite_driver import connector
from savo_runtime.storage.port import StorageFullError
from savo_runtime.telemetry.spans import step

__all__ = ["Database", "UtcDateTime", "migrate", "move_tables", "upsert"]

log = structlog.get_logger()

DEPENDENCY = "database"
LOCK_WAIT_SECONDS = 10.0
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 30.0
_MIGRATION_LOCK = 0x5A70_0001
_READ_ONLY = "savo_read_only"
_NO_RIGHT = "42501"

_alembic_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

RUNTIME_MIGRATIONS = "savo_runtime.migrations"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time in, the same out, on SQLite (which keeps no zone) and PostgreSQL. A naive time raises `ValueError`."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Database:
    """One service's tables. Made without touching the server: the first session connects."""

    def __init__(self, url: str | URL, service: str) -> None:
        self.url = make_url(url)
        self.service = service
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(self.url) if self.is_sqlite else _postgresql_engine(self.url, service)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        self._writer = asyncio.Lock()
        self._system = "sqlite" if self.is_sqlite else "postgresql"

    @classmethod
    def open(cls, settings: RuntimeSettings, service: str) -> Database:
        """PostgreSQL by SAVO_DATABASE_URL, else `<data_dir>/db/<service>.sqlite3`; a sandbox has its own schemas and files."""
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

        Raises `DependencyDownError("database")` when the server or file is away, `StorageFullError` when the disk is full,
        `RetryableError` when the transaction lost against another, `FatalError` when the login is refused.
        """
        with self._traced(read_only), _translated_errors():
            async with self._turn(read_only), self._sessions() as session, session.begin():
                with _translated_connect_errors():
                    await session.connection(execution_options={_READ_ONLY: read_only})
                yield session

    def _traced(self, read_only: bool) -> AbstractContextManager[object]:
        """Of what writes only: reads are many and short."""
        return nullcontext() if read_only else step("database transaction", kind=SpanKind.CLIENT, attributes={"db.system.name": self._system})

    async def check(self) -> None:
        """Raises `DependencyDownError`."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS), self.session(read_only=True) as session:
                await session.execute(text("SELECT 1"))
        except TimeoutError:
            raise DependencyDownError(DEPENDENCY, f"no answer in {CONNECT_SECONDS:g} s") from None

    async def close(self) -> None:
        await self.engine.dispose()

    def _turn(self, read_only: bool) -> AbstractAsyncContextManager[None]:
        return self._write_turn() if self.is_sqlite and not read_only else nullcontext()

    @asynccontextmanager
    async def _write_turn(self) -> AsyncIterator[None]:
        # In this process writers queue here, in order; SQLite's own waiting polls and lets the unlucky starve.
        try:
            async with asyncio.timeout(LOCK_WAIT_SECONDS):
                await self._writer.acquire()
        except TimeoutError:
            raise DependencyDownError(DEPENDENCY, f"no turn to write in {LOCK_WAIT_SECONDS:g} s") from None
        try:
            yield
        finally:
            self._writer.release()


async def upsert(session: AsyncSession, table: type[DeclarativeBase] | Table, values: Mapping[str, Any], key: Sequence[str]) -> None:
    """Insert, or where `key` (column names with a unique index) is taken set the other values. Objects already loaded are not refreshed."""
    target = table if isinstance(table, Table) else inspect(table).local_table
    assert isinstance(target, Table)
    dialect = session.get_bind().dialect.name
    insert = sqlite.insert(target).values(dict(values)) if dialect == "sqlite" else postgresql.insert(target).values(dict(values))
    others = {name: insert.excluded[name] for name in values if name not in key}
    if others:
        await session.execute(insert.on_conflict_do_update(index_elements=list(key), set_=others))
    else:
        await session.execute(insert.on_conflict_do_nothing(index_elements=list(key)))


async def migrate(database: Database, versions_package: str | None = None) -> None:
    """Bring the runtime's tables, then the service's, to their newest form. Replicas that start together wait for each other.

    `versions_package` holds a folder `versions` of alembic files, for example `savo_gateway.migrations`.
    """
    async with _alembic_turn():
        with _translated_errors(), _translated_connect_errors():
            if not database.is_sqlite:
                await _create_schema(database)
            async with database.engine.connect() as connection, connection.begin():
                await connection.run_sync(_upgrade_all, versions_package)


async def move_tables(database: Database, versions_package: str, revision: str) -> str:
    """Up or down to a revision of the service's own history; the one it was at. Raises `FatalError` for a revision that this release has not.

    Down loses what only the newer tables hold.
    """
    async with _alembic_turn():
        with _translated_errors(), _translated_connect_errors():
            if not database.is_sqlite:
                await _create_schema(database)
            async with database.engine.connect() as connection, connection.begin():
                return await connection.run_sync(_move, versions_package, revision)


def _alembic_turn() -> asyncio.Lock:
    """Alembic's `context` is one for the process: services that start in one loop take turns."""
    return _alembic_turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())


def versions_folder(package: str) -> Path:
    return Path(str(importlib.import_module(package).__file__)).parent / "versions"


def _upgrade_all(connection: Connection, versions_package: str | None) -> None:
    _lock_migrations(connection)
    _upgrade(connection, RUNTIME_MIGRATIONS, "alembic_version_runtime")
    if versions_package:
        _upgrade(connection, versions_package, "alembic_version")


def _upgrade(connection: Connection, package: str, version_table: str) -> None:
    config = _alembic(connection, package, version_table)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if newer := set(_revisions(connection, version_table)) - known:
        # A newer release was here and this one is the way back. Releases only add to tables that an older one still reads.
        log.warning("database.newer_than_this_release", history=package, revisions=sorted(newer))
        return
    command.upgrade(config, "heads")


def _move(connection: Connection, package: str, revision: str) -> str:
    _lock_migrations(connection)
    config = _alembic(connection, package, "alembic_version")
    order = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]
    if revision not in order:
        raise FatalError(f"{package} has no revision {revision}; there are {', '.join(order)}")
    now = _revisions(connection, "alembic_version")
    if unknown := set(now) - set(order):
        raise FatalError(f"the tables are at {', '.join(sorted(unknown))}, which this release does not know: go back with the release that made them")
    back = bool(now) and order.index(now[0]) > order.index(revision)
    (command.downgrade if back else command.upgrade)(config, revision)
    return now[0] if now else "nothing"


def _alembic(connection: Connection, package: str, version_table: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(versions_folder(RUNTIME_MIGRATIONS).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(versions_folder(package)).replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=version_table)
    return config


def _revisions(connection: Connection, version_table: str) -> tuple[str, ...]:
    return MigrationContext.configure(connection, opts={"version_table": version_table}).get_current_heads()


def _lock_migrations(connection: Connection) -> None:
    # SQLite's transaction took the only write lock at its start.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})


async def _create_schema(database: Database) -> None:
    # By an engine of its own: the dialect looks up the current schema once, at its first connection, and it must be there by then.
    engine = _postgresql_engine(database.url, database.service, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_lock_migrations)
            if not await connection.run_sync(lambda sync: inspect(sync).has_schema(database.service)):
                await connection.execute(CreateSchema(database.service))
    except DBAPIError as refusal:
        if _sqlstate(refusal) != _NO_RIGHT:
            raise
        role, name = database.url.username, database.url.database
        raise FatalError(
            f"{role} may not make the schema {database.service} that it works in: let an administrator of the database run"
            f' GRANT CREATE ON DATABASE "{name}" TO "{role}", or CREATE SCHEMA {database.service} AUTHORIZATION "{role}"'
        ) from refusal
    finally:
        await engine.dispose()


def _sqlite_engine(url: URL) -> AsyncEngine:
    assert url.database, "an SQLite file has a path"
    engine = create_async_engine(url, pool_timeout=LOCK_WAIT_SECONDS, pool_size=10, async_creator=connector(url.database))
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, not at the first write
    cursor = connection.cursor()
    # NORMAL: with WAL a commit survives the death of the process; only a power cut may take the last ones, and what is on
    # PostgreSQL in earnest is embedded here, where the broker would be gone as well. FULL costs 30 ms a commit on a laptop's disk.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={int(LOCK_WAIT_SECONDS * 1000)}", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _postgresql_engine(url: URL, service: str, **options: Any) -> AsyncEngine:
    arguments = {
        "timeout": CONNECT_SECONDS,
        "command_timeout": COMMAND_SECONDS,
        "server_settings": {"search_path": f'"{service}"', "application_name": f"savo-{service}"},
    }
    if not options:
        options = {"pool_pre_ping": True, "pool_size": 5, "max_overflow": 10, "pool_timeout": LOCK_WAIT_SECONDS}
    return create_async_engine(url.set(drivername="postgresql+asyncpg"), connect_args=arguments, **options)


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        meaning = _meaning(error)
        if meaning is None:
            raise
        raise meaning from error


@contextmanager
def _translated_connect_errors() -> Iterator[None]:
    """Connecting raises bare `OSError` and `TimeoutError`, which in the caller's own code could mean anything."""
    try:
        yield
    except OSError as error:
        raise DependencyDownError(DEPENDENCY, str(error) or type(error).__name__) from error


def _meaning(error: Exception) -> Exception | None:
    """What the consumer must do about it; None for a bug of ours, which stays as it is."""
    if isinstance(error, PoolTimeoutError):
        return DependencyDownError(DEPENDENCY, "no free connection")
    state = _sqlstate(error)
    words = str(getattr(error, "orig", None) or error).splitlines()[0]
    if state == "53100" or "disk is full" in words:
        return StorageFullError(f"the database has no room: {words}")
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


def _sqlstate(error: BaseException) -> str:
    original = getattr(error, "orig", None) or error
    return str(getattr(original, "sqlstate", None) or getattr(original.__cause__, "sqlstate", None) or "")
