"""Migration of a service's tables to the schema of this release, by alembic."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from weakref import WeakKeyDictionary

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from savo_runtime.database import Database, postgresql_engine
from savo_runtime.database_errors import sqlstate, translated_connect_errors, translated_errors
from savo_runtime.errors import FatalError

__all__ = ["migrate", "move_tables", "versions_folder"]

log = structlog.get_logger()

RUNTIME_MIGRATIONS = "savo_runtime.migrations"
_MIGRATION_LOCK = 0x5A70_0001
_NO_RIGHT = "42501"

_alembic_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def migrate(database: Database, versions_package: str | None = None) -> None:
    """Upgrade the runtime's tables, then the service's. Replicas that start at the same time wait for each other.

    `versions_package` holds a folder `versions` of alembic files, for example `savo_gateway.migrations`.
    """
    async with _alembic_lock():
        with translated_errors(), translated_connect_errors():
            if not database.is_sqlite:
                await _create_schema(database)
            async with database.engine.connect() as connection, connection.begin():
                await connection.run_sync(_upgrade_all, versions_package)


async def move_tables(database: Database, versions_package: str, revision: str) -> str:
    """Upgrade or downgrade the service's tables to a revision; returns the revision before.

    A downgrade loses the data of newer tables and columns. Raises `FatalError` for a revision unknown to this release.
    """
    async with _alembic_lock():
        with translated_errors(), translated_connect_errors():
            if not database.is_sqlite:
                await _create_schema(database)
            async with database.engine.connect() as connection, connection.begin():
                return await connection.run_sync(_move, versions_package, revision, database.service)


def _alembic_lock() -> asyncio.Lock:
    """A lock for the services of this event loop, because alembic's `context` is global to the process."""
    return _alembic_locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())


def versions_folder(package: str) -> Path:
    """The folder `versions` of an importable package of migrations."""
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
        # A rollback from a newer release. Releases only add to tables, so this one can still read them.
        log.warning("database.schema_newer_than_release", migrations_package=package, revisions=sorted(newer))
        return
    command.upgrade(config, "heads")


def _move(connection: Connection, package: str, revision: str, service: str) -> str:
    _lock_migrations(connection)
    config = _alembic(connection, package, "alembic_version")
    order = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]
    if revision not in order:
        raise FatalError(f"{package} has no revision {revision}; there are {', '.join(order)}")
    now = _revisions(connection, "alembic_version")
    if unknown := set(now) - set(order):
        raise FatalError(
            f"the tables of {service} are at revision {', '.join(sorted(unknown))}, unknown to this release: with the"
            f" release that has it, run `python -m savo_runtime.migrate --to {revision} {service}`"
        )
    is_downgrade = bool(now) and order.index(now[0]) > order.index(revision)
    (command.downgrade if is_downgrade else command.upgrade)(config, revision)
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
    # SQLite needs no lock here: the transaction holds the only write lock since its start.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = 0"))  # another replica's migration may take long
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})


async def _require_rights(connection: AsyncConnection, schema: str) -> None:
    """Raises `FatalError` when the login has no rights in the schema.

    PostgreSQL would silently skip the schema in the search path, and creating a table would fail with "no schema has
    been selected".
    """
    query = (
        "SELECT nspowner::regrole::text,"
        " has_schema_privilege(nspname, 'USAGE') AND has_schema_privilege(nspname, 'CREATE')"
        " FROM pg_namespace WHERE nspname = :schema"
    )
    owner, is_allowed = (await connection.execute(text(query), {"schema": schema})).one()
    if not is_allowed:
        raise FatalError(
            f"{connection.engine.url.username} has no rights in the schema {schema}, which belongs to {owner}:"
            f" set SAVO_DATABASE_URL to the login of {owner} or of an administrator of the database"
        )


async def _create_schema(database: Database) -> None:
    # A separate engine: SQLAlchemy reads the current schema at an engine's first connection, when it must exist
    # already.
    engine = postgresql_engine(database.url, database.service, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_lock_migrations)
            if await connection.run_sync(lambda sync: inspect(sync).has_schema(database.service)):
                await _require_rights(connection, database.service)
            else:
                await connection.execute(CreateSchema(database.service))
    except DBAPIError as refusal:
        if sqlstate(refusal) != _NO_RIGHT:
            raise
        role, name = database.url.username, database.url.database
        raise FatalError(
            f"{role} may not create its schema {database.service}: ask an administrator of the database to run"
            f' GRANT CREATE ON DATABASE "{name}" TO "{role}",'
            f' or CREATE SCHEMA {database.service} AUTHORIZATION "{role}"'
        ) from refusal
    finally:
        await engine.dispose()
