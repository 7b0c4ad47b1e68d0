"""Each service's tables to a file of its own and back: `pg_dump` and `psql` by schema, SQLite by its own backup.

A schema is replaced in one transaction: a restore that fails leaves what was there.
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
_CLOSED_TO_US = (
    "SELECT nspname || '/' || pg_get_userbyid(nspowner) FROM pg_namespace"
    " WHERE nspname = ANY(string_to_array('{names}', ',')) AND NOT {right} ORDER BY 1"
)
_CONNECTED = (
    "SELECT DISTINCT application_name FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name LIKE 'savo-%'"
)


def require_dumpable(settings: RuntimeSettings) -> None:
    """Before anything is written. Raises `FatalError` where a program is missing, or this login may not read the tables of some service."""
    if settings.database_url:
        _require_programs("psql", "pg_dump")
        _require_right(settings, SERVICES, "has_schema_privilege(nspname, 'USAGE')", "read")


def require_restorable(settings: RuntimeSettings, folder: Path) -> None:
    """Before anything is touched. Raises `FatalError` where a program is missing, a service still runs, or this login may not replace what is there."""
    if settings.database_url:
        _require_programs("psql", "pg_restore")
        _require_right(
            settings, [dump.stem for dump in folder.glob("*.dump")], "pg_has_role(nspowner, 'USAGE')", "replaced"
        )
    require_stopped(settings)


def dump_databases(settings: RuntimeSettings, folder: Path) -> list[str]:
    """The services whose tables were written to `folder`. Raises `DependencyDownError`, and `FatalError` where PostgreSQL's programs are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    if not settings.database_url:
        return [_copy_sqlite(path, folder / path.name) for path in sorted((settings.data_dir / "db").glob("*.sqlite3"))]
    url = _url(settings)
    found = _ask(url, _SCHEMAS.format(names=",".join(SERVICES)))
    for service in found:
        _run(url, "pg_dump", "--format=custom", f"--schema={service}", f"--file={folder / service}.dump")
    return sorted(found)


def restore_databases(settings: RuntimeSettings, folder: Path) -> list[str]:
    """The services whose tables were put in the place of what was there. Raises `FatalError` while a service still runs."""
    require_stopped(settings)
    if not settings.database_url:
        return [_put_back(path, settings.data_dir / "db" / path.name) for path in sorted(folder.glob("*.sqlite3"))]
    url = _url(settings)
    dumps = sorted(folder.glob("*.dump"))
    for dump in dumps:
        _replace_schema(url, dump)
    return [dump.stem for dump in dumps]


def require_stopped(settings: RuntimeSettings) -> None:
    """Raises `FatalError` while a service is connected to the database, or runs in the data folder."""
    running = (
        _ask(_url(settings), _CONNECTED)
        if settings.database_url
        else [path.stem for path in (settings.data_dir / "run").glob("*.json")]
    )
    if running:
        raise FatalError(f"{', '.join(sorted(running))} still run on these databases: stop the services first")


def _require_programs(*programs: str) -> None:
    if missing := [program for program in programs if shutil.which(program) is None]:
        raise FatalError(
            f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not installed: install PostgreSQL's client programs"
            " (Debian: apt-get install postgresql-client), of the server's release or a newer one"
        )


def _require_right(settings: RuntimeSettings, services: Iterable[str], right: str, what: str) -> None:
    closed = [
        line.partition("/")
        for line in _ask(_url(settings), _CLOSED_TO_US.format(names=",".join(services), right=right))
    ]
    if closed:
        schemas = ", ".join(f"{schema} of {owner}" for schema, _, owner in closed)
        raise FatalError(
            f"{schemas} may not be {what} by this login: give SAVO_DATABASE_URL of an administrator of the database"
        )


def _replace_schema(url: URL, dump: Path) -> None:
    script = dump.with_suffix(".sql")
    try:
        _run(url, "pg_restore", f"--file={script}", str(dump), connect=False)
        drop = f'DROP SCHEMA IF EXISTS "{dump.stem}" CASCADE'
        _run(
            url,
            "psql",
            "--quiet",
            "--no-psqlrc",
            "--single-transaction",
            "--set=ON_ERROR_STOP=1",
            f"--command={drop}",
            f"--file={script}",
            "--output=/dev/null",
        )
    finally:
        script.unlink(missing_ok=True)


def _ask(url: URL, question: str) -> list[str]:
    return _run(url, "psql", "--no-psqlrc", "--tuples-only", "--no-align", f"--command={question}").split()


def _run(url: URL, program: str, *arguments: str, connect: bool = True) -> str:
    _require_programs(program)
    # The password goes by the environment: arguments are open to everybody on the machine.
    open_part = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    where = [f"--dbname={open_part.render_as_string()}"] if connect else []
    password = {"PGPASSWORD": str(url.password)} if url.password else {}
    done = subprocess.run(
        [program, *where, *arguments], capture_output=True, text=True, check=False, env=os.environ | password
    )
    if done.returncode:
        raise DependencyDownError("database", f"{program}: {done.stderr.strip() or 'no word on why'}")
    return done.stdout


def _url(settings: RuntimeSettings) -> URL:
    assert settings.database_url
    return make_url(settings.database_url.get_secret_value())


def _copy_sqlite(source: Path, target: Path) -> str:
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
    return source.stem


def _put_back(source: Path, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".fresh")
    shutil.copyfile(source, fresh)
    for tail in ("-wal", "-shm"):
        target.with_name(target.name + tail).unlink(missing_ok=True)
    fresh.replace(target)
    return source.stem
