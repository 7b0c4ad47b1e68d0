"""Tests of every migration, forward and back, with rows in every table, on SQLite and on PostgreSQL.

The statements of the older release must still work after a migration: it runs beside the new one during a rolling
upgrade, and again after a rollback. So a migration only adds. What becomes unused is removed in a later release
(docs/upgrading.md), by a migration that declares `contracts = "…"`.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from savo_runtime.database import Database
from savo_runtime.errors import FatalError
from savo_runtime.migrate import main
from savo_runtime.schema import migrate, move_tables, versions_folder

HISTORIES = {
    entry.name: str(entry.load().migrations)
    for entry in sorted(entry_points(group="savo.services"), key=lambda entry: entry.name)
}
SHARED_TABLES = {"alembic_version", "alembic_version_runtime", "outbox", "processed_events"}
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def revisions(service: str) -> list[str]:
    folder = versions_folder(HISTORIES[service])
    return [
        script.revision
        for script in ScriptDirectory(str(folder.parent), version_locations=[str(folder)]).walk_revisions()
    ][::-1]


STEPS = [
    (service, before, after)
    for service in HISTORIES
    for before, after in zip(revisions(service), revisions(service)[1:], strict=False)
]


def contracts(service: str, revision: str) -> bool:
    (path,) = versions_folder(HISTORIES[service]).glob(f"{revision}_*.py")
    return hasattr(importlib.import_module(f"{HISTORIES[service]}.versions.{path.stem}"), "contracts")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[str], Database]]:
    opened: list[Database] = []
    url = (
        f"sqlite+aiosqlite:///{tmp_path}/service.sqlite3"
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_url")
    )

    def open_service_database(service: str) -> Database:
        opened.append(Database(url.replace("postgresql://", "postgresql+asyncpg://"), service))
        return opened[-1]

    yield open_service_database
    for database in opened:
        await database.close()


@pytest.mark.parametrize(("service", "before", "after"), STEPS)
async def test_statements_of_the_older_release_still_work_and_rows_are_kept(
    open_database: Callable[[str], Database], service: str, before: str, after: str
) -> None:
    database = open_database(service)
    await move_tables(database, HISTORIES[service], before)
    old_tables = await tables_of(database)
    assert old_tables
    rows = {table.name: await write_row(database, table, 1) for table in old_tables}
    assert await move_tables(database, HISTORIES[service], after) == before
    if not contracts(service, after):
        for table in old_tables:
            assert rows[table.name] in await read_rows(database, table)
            await write_row(database, table, 2)
            await update_rows(database, table)
    assert await move_tables(database, HISTORIES[service], before) == after
    assert {table.name for table in await tables_of(database)} == {table.name for table in old_tables}
    assert all([len(await read_rows(database, table)) >= 1 for table in old_tables])


async def test_an_older_release_starts_on_the_tables_of_a_newer_one(open_database: Callable[[str], Database]) -> None:
    database = open_database("gateway")
    await migrate(database, HISTORIES["gateway"])
    async with database.session() as session:
        await session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    before = {table.name for table in await tables_of(database)}
    await migrate(database, HISTORIES["gateway"])
    assert {table.name for table in await tables_of(database)} == before
    with pytest.raises(FatalError, match="the tables of gateway are at revision 9999, unknown to this release"):
        await move_tables(database, HISTORIES["gateway"], "0001")


def test_the_command_migrates_back_and_forward_and_refuses_an_unknown_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path))
    newest, previous = revisions("gateway")[-1], revisions("gateway")[-2]
    assert main(["gateway"]) == 0
    assert main(["gateway", "--to", previous]) == 0
    assert f"tables of gateway went from {newest} to {previous}" in capsys.readouterr().out
    assert main(["gateway"]) == 0
    assert main(["gateway", "--to", "0999"]) == 1
    assert "has no revision 0999; there are 0001" in capsys.readouterr().err


async def tables_of(database: Database) -> list[sa.Table]:
    def reflect(connection: sa.Connection) -> list[sa.Table]:
        metadata = sa.MetaData()
        metadata.reflect(connection)
        return [table for table in metadata.sorted_tables if table.name not in SHARED_TABLES]

    async with database.session(read_only=True) as session:
        return await (await session.connection()).run_sync(reflect)


async def write_row(database: Database, table: sa.Table, seed: int) -> dict[str, Any]:
    row = {column.name: value_for(column, seed) for column in table.columns}
    async with database.session() as session:
        await session.execute(table.insert().values(row))
    return {column.name: row[column.name] for column in table.primary_key.columns}


async def read_rows(database: Database, table: sa.Table) -> list[dict[str, Any]]:
    async with database.session(read_only=True) as session:
        found = (await session.execute(sa.select(table))).mappings().all()
    return [{column.name: row[column.name] for column in table.primary_key.columns} for row in found]


async def update_rows(database: Database, table: sa.Table) -> None:
    others = {
        column.name: value_for(column, 3) for column in table.columns if not column.primary_key and not column.unique
    }
    async with database.session() as session:
        if others:
            await session.execute(
                table.update()
                .where(*[column == value_for(column, 1) for column in table.primary_key.columns])
                .values(others)
            )


_IDS = {seed: uuid4() for seed in (1, 2, 3)}


def value_for(column: sa.Column[Any], seed: int) -> Any:
    """A value of the column's type, different for each seed."""
    kind = column.type
    if isinstance(kind, sa.JSON):
        return {"seed": seed}
    if isinstance(kind, sa.Boolean):
        return False
    if isinstance(kind, sa.DateTime):
        return NOW.replace(minute=seed) if getattr(kind, "timezone", False) else NOW.replace(minute=seed, tzinfo=None)
    if isinstance(kind, sa.Uuid):
        return _IDS[seed]
    if isinstance(kind, sa.Integer):
        return seed
    if isinstance(kind, sa.Numeric | sa.Float):
        return float(seed)
    return str(seed)
