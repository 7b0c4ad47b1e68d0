"""Database and migrations, on SQLite in a file and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import JSON, Column, ForeignKey, MetaData, String, Table, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError, StatementError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from savo_runtime import database as database_module
from savo_runtime.database import Database, UtcDateTime, upsert
from savo_runtime.errors import DependencyDownError, FatalError
from savo_runtime.schema import migrate
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.port import StorageFullError
from savo_runtime.testing import assert_migrations_match
from tests.parts.addresses import free_port
from tests.parts.postgres import PostgresServer


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "things"

    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    note: Mapped[dict[str, Any] | None] = mapped_column(JSON, nullable=True)
    seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime, nullable=True)


class Part(Base):
    __tablename__ = "parts"

    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    thing: Mapped[str] = mapped_column(ForeignKey("things.name"))


MIGRATION = """
import sqlalchemy as sa
from alembic import op
from savo_runtime.database import UtcDateTime

revision = "{revision}"
down_revision = {down}


def upgrade():
    {upgrade}
"""
FIRST = """name = sa.Column("name", sa.String(20), primary_key=True)
    op.create_table("things", name, sa.Column("note", sa.JSON), sa.Column("seen_at", UtcDateTime))
    thing = sa.Column("thing", sa.String(20), sa.ForeignKey("things.name"), nullable=False)
    op.create_table("parts", sa.Column("name", sa.String(20), primary_key=True), thing)"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An importable package of one migration, with a name unique to the test."""
    name = f"migrations_of_{abs(hash(tmp_path)):x}"
    write_migration(tmp_path / name, "0001", None, FIRST)
    (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return name


def write_migration(folder: Path, revision: str, down: str | None, upgrade: str) -> None:
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    (folder / "versions" / f"{revision}_step.py").write_text(
        MIGRATION.format(revision=revision, down=repr(down), upgrade=upgrade)
    )


@pytest.fixture
async def tables(database: Database, package: str) -> Database:
    await migrate(database, package)
    return database


async def names(database: Database) -> list[str]:
    async with database.session(read_only=True) as session:
        return list((await session.scalars(select(Thing.name).order_by(Thing.name))).all())


async def table_names(database: Database) -> set[str]:
    async with database.engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_a_session_commits_at_its_end(tables: Database) -> None:
    async with tables.session() as session:
        session.add(Thing(name="kept"))
    assert await names(tables) == ["kept"]


async def test_an_error_rolls_everything_back(tables: Database) -> None:
    async def fail() -> None:
        async with tables.session() as session:
            session.add(Thing(name="lost"))
            await session.flush()
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        await fail()
    assert await names(tables) == []


async def test_foreign_keys_are_enforced(tables: Database) -> None:
    with pytest.raises(IntegrityError):
        async with tables.session() as session:
            await session.execute(insert(Part).values(name="wheel", thing="nothing"))


async def test_upsert_inserts_then_sets_the_other_values(tables: Database) -> None:
    for note in ({"n": 1}, {"n": 2}):
        async with tables.session() as session:
            await upsert(session, Thing, {"name": "a", "note": note}, ["name"])
            await upsert(session, Thing, {"name": "only-a-key"}, ["name"])
    async with tables.session(read_only=True) as session:
        assert (await session.get_one(Thing, "a")).note == {"n": 2}
    assert await names(tables) == ["a", "only-a-key"]


async def test_times_come_back_as_the_same_utc_moment(tables: Database) -> None:
    moment = datetime(2026, 3, 1, 14, 30, 15, 123456, tzinfo=timezone(timedelta(hours=2)))
    async with tables.session() as session:
        session.add(Thing(name="a", seen_at=moment))
    async with tables.session(read_only=True) as session:
        back = (await session.get_one(Thing, "a")).seen_at
        found = await session.scalar(select(Thing.name).where(Thing.seen_at >= moment))
    assert back == moment
    assert back is not None
    assert back.tzinfo is UTC
    assert found == "a"


async def test_a_time_without_a_zone_is_refused(tables: Database) -> None:
    with pytest.raises(StatementError, match="has no time zone"):
        async with tables.session() as session:
            session.add(Thing(name="a", seen_at=datetime(2026, 3, 1)))  # noqa: DTZ001


async def test_concurrent_writers_wait_for_each_other_and_lose_no_change(
    tables: Database, database_settings: RuntimeSettings
) -> None:
    other = Database.open(database_settings, "thing")
    async with tables.session() as session:
        session.add(Thing(name="counter", note={"n": 0}))

    async def count(database: Database) -> None:
        async with database.session() as session:
            thing = await session.get_one(Thing, "counter", with_for_update=True)
            thing.note = {"n": (thing.note or {})["n"] + 1}

    await asyncio.gather(*(count(database) for database in (tables, other) * 15))
    async with tables.session(read_only=True) as session:
        assert (await session.get_one(Thing, "counter")).note == {"n": 30}
    await other.close()


async def test_a_reader_does_not_wait_for_a_writer(tables: Database) -> None:
    async with tables.session() as session:
        session.add(Thing(name="uncommitted"))
        await session.flush()
        assert await asyncio.wait_for(names(tables), 60) == []
        await tables.check()


async def test_migrating_twice_changes_nothing(tables: Database, package: str) -> None:
    before = await table_names(tables)
    await migrate(tables, package)
    assert await table_names(tables) == before
    assert {"things", "parts", "outbox", "processed_events", "alembic_version", "alembic_version_runtime"} <= before


async def test_a_service_without_migrations_gets_the_runtimes_tables(database: Database) -> None:
    await migrate(database)
    assert {"outbox", "processed_events"} <= await table_names(database)


async def test_replicas_that_start_together_migrate_once(database_settings: RuntimeSettings, package: str) -> None:
    replicas = [Database.open(database_settings, "thing") for _ in range(4)]
    await asyncio.gather(*(migrate(replica, package) for replica in replicas))
    assert await names(replicas[0]) == []
    await asyncio.gather(*(replica.close() for replica in replicas))


async def test_a_migration_that_fails_leaves_nothing_behind(tables: Database, package: str, tmp_path: Path) -> None:
    before = await table_names(tables)
    write_migration(
        tmp_path / package,
        "0002",
        "0001",
        'op.create_table("half", sa.Column("a", sa.Integer))\n    op.execute("SELECT * FROM nowhere")',
    )
    with pytest.raises(SQLAlchemyError, match="nowhere"):
        await migrate(tables, package)
    assert await table_names(tables) == before


async def test_services_have_separate_tables(tables: Database, database_settings: RuntimeSettings) -> None:
    neighbour = Database.open(database_settings, "neighbour")
    await migrate(neighbour)
    assert "things" not in await table_names(neighbour)
    await neighbour.close()


async def test_an_invalid_query_is_no_dependency_that_is_down(tables: Database) -> None:
    with pytest.raises(SQLAlchemyError, match="nowhere"):
        async with tables.session() as session:
            await session.execute(text("SELECT * FROM nowhere"))


async def test_an_error_of_the_caller_is_not_translated(tables: Database) -> None:
    with pytest.raises(ConnectionRefusedError):
        async with tables.session():
            raise ConnectionRefusedError("another server")


async def test_migrations_are_compared_with_the_tables_of_the_code(package: str) -> None:
    await assert_migrations_match(package, Base.metadata)
    more = MetaData()
    for table in Base.metadata.tables.values():
        table.to_metadata(more)
    Table("forgotten", more, Column("id", String, primary_key=True))
    with pytest.raises(AssertionError, match="forgotten"):
        await assert_migrations_match(package, more)


async def test_a_full_disk_raises_storage_full(tmp_path: Path, package: str) -> None:
    database = Database.open(RuntimeSettings(data_dir=tmp_path), "thing")
    await migrate(database, package)

    async def fill() -> None:
        async with database.session() as session:
            await session.execute(text("PRAGMA max_page_count=1"))
            for number in range(100):
                await session.execute(insert(Thing).values(name=str(number), note={"much": "x" * 4000}))

    with pytest.raises(StorageFullError, match="disk is full"):
        await fill()
    await database.close()


async def test_a_file_that_cannot_be_opened_is_a_dependency_that_is_down(tmp_path: Path) -> None:
    database = Database.open(RuntimeSettings(data_dir=tmp_path), "thing")
    (tmp_path / "db" / "thing.sqlite3").mkdir()
    with pytest.raises(DependencyDownError, match="database is down: unable to open database file"):
        await database.check()
    await database.close()
    for thread in threading.enumerate():  # the driver's thread still uses this event loop
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 5)


async def test_an_unreachable_server_is_a_dependency_that_is_down() -> None:
    database = Database(f"postgresql://savo@127.0.0.1:{free_port()}/savo", "thing")
    with pytest.raises(DependencyDownError, match="database is down"):
        await migrate(database)
    with pytest.raises(DependencyDownError):
        await database.check()
    await database.close()


@pytest.mark.postgres
async def test_the_service_recovers_from_a_crash_of_the_server_without_a_restart(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    database = Database(postgres_url, "thing")
    await migrate(database)

    async def crash_within_a_transaction() -> None:
        async with database.session() as session:
            await asyncio.to_thread(postgres_server.stop, "immediate")
            await session.execute(text("SELECT 1"))

    try:
        with pytest.raises(DependencyDownError):
            await crash_within_a_transaction()
        with pytest.raises(DependencyDownError):
            await database.check()
    finally:
        await asyncio.to_thread(postgres_server.start)
    await database.check()
    await database.close()


@asynccontextmanager
async def locked_row(database: Database) -> AsyncIterator[None]:
    """An open transaction that holds a lock on the row, as in a forgotten shell."""
    async with database.session() as session:
        session.add(Thing(name="a"))
    async with database.session() as session:
        await session.execute(text("SELECT * FROM things FOR UPDATE"))
        yield


async def note(database: Database, number: int) -> None:
    async with database.session() as session:
        await upsert(session, Thing, {"name": "a", "note": {"n": number}}, ["name"])


@pytest.mark.postgres
async def test_a_held_lock_is_a_dependency_that_is_down_and_names_the_lock(
    postgres_url: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "LOCK_WAIT_SECONDS", 0.2)
    database = Database(postgres_url, "thing")
    await migrate(database, package)
    async with locked_row(database):
        with pytest.raises(
            DependencyDownError,
            match=r'database is down: another transaction holds a lock: while .* tuple \(.*\) in relation "things"',
        ) as waited:
            await note(database, 1)
    assert waited.value.reason == "database-down"
    await note(database, 2)
    async with database.session(read_only=True) as session:
        assert (await session.get_one(Thing, "a")).note == {"n": 2}
    await database.close()


@pytest.mark.postgres
async def test_a_statement_timeout_is_a_dependency_that_is_down_and_names_the_statement(
    postgres_url: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's own timeout, without an answer of the server."""
    monkeypatch.setattr(database_module, "COMMAND_SECONDS", 0.5)
    database = Database(postgres_url, "thing")
    await migrate(database, package)
    async with locked_row(database):
        with pytest.raises(
            DependencyDownError,
            match="database is down: the server did not answer in time: INSERT INTO things",
        ):
            await note(database, 1)
    await note(database, 2)
    await database.close()


@pytest.mark.postgres
async def test_a_timeout_of_the_caller_is_not_translated(postgres_url: str) -> None:
    database = Database(postgres_url, "thing")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), database.session() as session:
            await session.execute(text("SELECT pg_sleep(30)"))
    await database.check()
    await database.close()


@pytest.mark.postgres
@pytest.mark.parametrize("change", [{"username": "unknown-user"}, {"database": "unknown-database"}])
async def test_a_refused_login_stops_the_service(postgres_url: str, change: dict[str, str]) -> None:
    good = Database(postgres_url, "thing")
    database = Database(good.url.set(**change), "thing")  # type: ignore[arg-type]
    with pytest.raises(FatalError, match="SAVO_DATABASE_URL is refused"):
        await migrate(database)
    await database.close()
    await good.close()


@pytest.mark.postgres
async def test_a_role_that_may_not_create_a_schema_gets_the_statement_to_grant_it(postgres_url: str) -> None:
    owner = Database(postgres_url, "thing")
    await migrate(owner)
    async with owner.session() as session:
        await session.execute(text("CREATE ROLE narrow LOGIN PASSWORD 'narrow'"))
    database = Database(owner.url.set(username="narrow", password="narrow"), "sandbox_replay_thing")
    with pytest.raises(
        FatalError,
        match=r'narrow may not create its schema sandbox_replay_thing: .* GRANT CREATE ON DATABASE "\w+" TO "narrow"',
    ):
        await migrate(database)
    await database.close()
    await owner.close()


@pytest.mark.postgres
async def test_a_role_without_rights_in_a_schema_gets_the_name_of_its_owner(postgres_url: str) -> None:
    owner = Database(postgres_url, "thing")
    await migrate(owner)
    async with owner.session() as session:
        await session.execute(text("CREATE ROLE neighbour LOGIN PASSWORD 'neighbour'"))
    database = Database(owner.url.set(username="neighbour", password="neighbour"), "thing")
    refusal = (
        "neighbour has no rights in the schema thing, which belongs to savo:"
        " set SAVO_DATABASE_URL to the login of savo or of an administrator of the database"
    )
    with pytest.raises(FatalError, match=f"^{refusal}$"):
        await migrate(database)
    await database.close()
    await owner.close()


@pytest.mark.postgres
async def test_a_service_has_a_schema_of_its_name(postgres_url: str, package: str) -> None:
    for prefix in ("postgres://", "postgresql://"):
        url = SecretStr(prefix + postgres_url.partition("://")[2])
        database = Database.open(RuntimeSettings(database_url=url), "thing")
        await migrate(database, package)
        async with database.session() as session:
            schemas = (await session.scalars(text("SELECT schemaname FROM pg_tables WHERE tablename = 'things'"))).all()
        assert schemas == ["thing"]
        await database.close()


@pytest.mark.postgres
async def test_an_invalid_statement_on_postgresql_is_no_dependency_that_is_down(postgres_url: str) -> None:
    database = Database(postgres_url, "thing")
    with pytest.raises(ProgrammingError):
        async with database.session() as session:
            await session.execute(text("SELEC 1"))
    await database.close()
