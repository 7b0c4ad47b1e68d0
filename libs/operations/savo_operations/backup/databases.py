"""Backup and restore of the services' tables: one file for each service.

PostgreSQL: `pg_dump` of each schema, and `psql` in one transaction, so a failed restore changes nothing.
SQLite: its online backup.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from sqlalchemy.engine import URL, make_url

from savo_contracts.topics import SERVICES
from savo_runtime.errors import DependencyDownError, FatalError
from savo_runtime.settings import RuntimeSettings

__all__ = ["dump_databases", "require_dumpable", "require_restorable", "require_stopped", "restore_databases"]

_SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname = ANY(string_to_array('{names}', ','))"
_SCHEMAS_WITHOUT_RIGHT = (
    "SELECT nspname || '/' || pg_get_userbyid(nspowner) FROM pg_namespace"
    " WHERE nspname = ANY(string_to_array('{names}', ',')) AND NOT {right} ORDER BY 1"
)
_CONNECTED = (
    "SELECT DISTINCT application_name FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name LIKE 'savo-%'"
)


def require_dumpable(settings: RuntimeSettings) -> None:
    """Checks that a dump can succeed, before anything is written.

    Raises `FatalError` if one of PostgreSQL's programs is missing, or the login may not read a service's tables.
    """
    if settings.database_url:
        _require_programs("psql", "pg_dump")
        _require_right(settings, SERVICES, "has_schema_privilege(nspname, 'USAGE')", "read")


def require_restorable(settings: RuntimeSettings, folder: Path) -> None:
    """Checks that a restore from `folder` can succeed, before anything is changed.

    Raises `FatalError` if a program of PostgreSQL is missing, the login may not replace a schema, or a service runs.
    """
    if settings.database_url:
        _require_programs("psql", "pg_restore")
        services = [dump.stem for dump in folder.glob("*.dump")]
        _require_right(settings, services, "pg_has_role(nspowner, 'USAGE')", "replace")
    require_stopped(settings)


def dump_databases(settings: RuntimeSettings, folder: Path) -> list[str]:
    """Writes one file for each service to `folder` and returns the services' names.

    Raises `DependencyDownError` when the database is not available, `FatalError` if a program of PostgreSQL is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not settings.database_url:
        return [_copy_sqlite(path, folder / path.name) for path in sorted((settings.data_dir / "db").glob("*.sqlite3"))]
    url = _url(settings)
    services = _query(url, _SCHEMAS.format(names=",".join(SERVICES)))
    for service in services:
        _run(url, "pg_dump", "--format=custom", f"--schema={service}", f"--file={folder / service}.dump")
    return sorted(services)


def restore_databases(settings: RuntimeSettings, folder: Path) -> list[str]:
    """Replaces the services' tables with those in `folder` and returns the services' names.

    Raises `FatalError` while a service runs, `DependencyDownError` when the database is not available.
    """
    require_stopped(settings)
    if not settings.database_url:
        return [
            _restore_sqlite(path, settings.data_dir / "db" / path.name) for path in sorted(folder.glob("*.sqlite3"))
        ]
    url = _url(settings)
    dumps = sorted(folder.glob("*.dump"))
    for dump in dumps:
        _replace_schema(url, dump)
    return [dump.stem for dump in dumps]


def require_stopped(settings: RuntimeSettings) -> None:
    """Raises `FatalError` while a service is connected to PostgreSQL, or runs on the data folder's SQLite files."""
    run_files = (settings.data_dir / "run").glob("*.json")
    running = _query(_url(settings), _CONNECTED) if settings.database_url else [path.stem for path in run_files]
    if running:
        raise FatalError(f"{', '.join(sorted(running))} still run on these databases: stop the services first")


def _require_programs(*programs: str) -> None:
    if missing := [program for program in programs if shutil.which(program) is None]:
        raise FatalError(
            f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not installed: install PostgreSQL's client"
            " programs (Debian: apt-get install postgresql-client), of the server's release or a newer one"
        )


def _require_right(settings: RuntimeSettings, services: Iterable[str], right: str, action: str) -> None:
    url = _url(settings)
    lines = _query(url, _SCHEMAS_WITHOUT_RIGHT.format(names=",".join(services), right=right))
    if lines:
        schemas = ", ".join(f"{schema} of {owner}" for schema, _, owner in (line.partition("/") for line in lines))
        raise FatalError(
            f"login {url.username} may not {action} {schemas}:"
            " set SAVO_DATABASE_URL to that of an administrator of the database"
        )


def _replace_schema(url: URL, dump: Path) -> None:
    script = dump.with_suffix(".sql")
    try:
        _run(url, "pg_restore", f"--file={script}", str(dump), connect=False)
        drop = f'DROP SCHEMA IF EXISTS "{dump.stem}" CASCADE'
        options = ("--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", "--output=/dev/null")
        _run(url, "psql", *options, f"--command={drop}", f"--file={script}")
    finally:
        script.unlink(missing_ok=True)


def _query(url: URL, sql: str) -> list[str]:
    return _run(url, "psql", "--no-psqlrc", "--tuples-only", "--no-align", f"--command={sql}").split()


def _run(url: URL, program: str, *arguments: str, connect: bool = True) -> str:
    _require_programs(program)
    # The password is passed in the environment: every user of the machine can read a process's arguments.
    without_password = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    connection = [f"--dbname={without_password.render_as_string()}"] if connect else []
    environment = os.environ | ({"PGPASSWORD": str(url.password)} if url.password else {})
    command = [program, *connection, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        reason = result.stderr.strip() or f"exit status {result.returncode} without a message"
        raise DependencyDownError("database", f"{program}: {reason}")
    return result.stdout


def _url(settings: RuntimeSettings) -> URL:
    assert settings.database_url
    return make_url(settings.database_url.get_secret_value())


def _copy_sqlite(source: Path, target: Path) -> str:
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
    return source.stem


def _restore_sqlite(source: Path, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".fresh")
    shutil.copyfile(source, fresh)
    for suffix in ("-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    fresh.replace(target)
    return source.stem
