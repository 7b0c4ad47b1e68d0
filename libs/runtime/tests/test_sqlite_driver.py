"""SQLite driver: one round trip for a statement, with the same results as aiosqlite."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import text

from savo_runtime.database import Database
from savo_runtime.sqlite_driver import FIRST_ROWS, _Connection, connector

LONG = FIRST_ROWS * 2 + 7


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[aiosqlite.Connection]:
    connection = await connector(tmp_path / "numbers.sqlite3")()
    async with connection.cursor() as cursor:
        await cursor.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
        await cursor.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in range(LONG)])
    await connection.commit()
    yield connection
    await connection.close()


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    execute = aiosqlite.Connection._execute

    async def recorded(self: aiosqlite.Connection, fn: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(getattr(fn, "__name__", repr(fn)))
        return await execute(self, fn, *args, **kwargs)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(aiosqlite.Connection, "_execute", recorded)
    return calls


async def test_a_statement_with_its_rows_takes_one_round_trip(
    connection: aiosqlite.Connection, trips: list[str]
) -> None:
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT number FROM numbers WHERE number < ?", (3,))
        assert [description[0] for description in cursor.description] == ["number"]
        assert list(await cursor.fetchall()) == [(0,), (1,), (2,)]
    assert len(trips) == 1


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'trips.sqlite3'}", "gateway")
    async with database.session() as session:
        await session.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
    yield database
    await database.close()


async def test_a_transaction_takes_a_round_trip_for_each_statement_and_the_commit(
    database: Database, trips: list[str]
) -> None:
    async with database.session() as session:
        await session.execute(text("INSERT INTO numbers VALUES (1)"))
        assert (await session.execute(text("SELECT number FROM numbers"))).scalars().all() == [1]
    assert len(trips) == 3, trips


async def test_the_end_of_a_read_only_transaction_is_not_waited_for(database: Database, trips: list[str]) -> None:
    for _ in range(3):
        async with database.session(read_only=True) as session:
            await session.execute(text("SELECT number FROM numbers"))
    assert len(trips) == 3, trips


async def test_an_empty_transaction_makes_no_round_trip(database: Database, trips: list[str]) -> None:
    async with database.session():
        pass
    async with database.session(read_only=True):
        pass
    assert trips == []


async def test_a_read_only_transaction_is_a_consistent_snapshot(database: Database, tmp_path: Path) -> None:
    other = Database(f"sqlite+aiosqlite:///{tmp_path / 'trips.sqlite3'}", "gateway")
    count = text("SELECT count(*) FROM numbers")
    async with database.session(read_only=True) as reading:
        assert await reading.scalar(count) == 0
        async with other.session() as writing:
            await writing.execute(text("INSERT INTO numbers VALUES (1)"))
        assert await reading.scalar(count) == 0
    async with database.session(read_only=True) as reading:
        assert await reading.scalar(count) == 1
    await other.close()


async def test_a_writer_holds_the_lock_from_its_first_statement(database: Database, tmp_path: Path) -> None:
    async with database.session() as session:
        await session.execute(text("SELECT number FROM numbers"))
        with (
            closing(sqlite3.connect(tmp_path / "trips.sqlite3", timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("INSERT INTO numbers VALUES (1)")


async def test_a_connection_whose_caller_is_cancelled_while_it_opens_is_closed(tmp_path: Path) -> None:
    may_open, opened = threading.Event(), list[sqlite3.Connection]()

    def open_later() -> sqlite3.Connection:
        may_open.wait(60)
        opened.append(sqlite3.connect(tmp_path / "trips.sqlite3", check_same_thread=False))
        return opened[0]

    opening = _Connection(open_later)

    async def connect() -> None:
        await opening

    connecting = asyncio.create_task(connect())
    await asyncio.sleep(0)
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    may_open.set()
    await asyncio.to_thread(opening._thread.join, 60)
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        opened[0].execute("SELECT 1")


async def test_a_statement_whose_caller_was_cancelled_before_it_ran_is_rolled_back(tmp_path: Path) -> None:
    reached, may_begin = threading.Event(), threading.Event()

    class Slow(_Connection):
        def begin_if_due(self) -> None:
            reached.set()
            may_begin.wait(60)
            super().begin_if_due()

    path = tmp_path / "numbers.sqlite3"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE numbers (number INTEGER)")
    connection = Slow(lambda: sqlite3.connect(path))
    await connection

    async def write() -> None:
        connection.begin_with_next(read_only=False)
        async with connection.cursor() as cursor:
            await cursor.execute("INSERT INTO numbers VALUES (1)")

    writing = asyncio.create_task(write())
    await asyncio.to_thread(reached.wait, 60)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    asyncio.get_running_loop().call_later(0.05, may_begin.set)
    await connection.rollback()
    await connection.commit()
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT count(*) FROM numbers")
        assert await cursor.fetchone() == (0,)
    await connection.close()


async def test_a_long_result_is_complete_with_every_fetch_method(connection: aiosqlite.Connection) -> None:
    rows = [(number,) for number in range(LONG)]
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT number FROM numbers ORDER BY number")
        assert list(await cursor.fetchall()) == rows
        assert list(await cursor.fetchall()) == []
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT number FROM numbers ORDER BY number")
        assert await cursor.fetchone() == (0,)
        assert [row async for row in cursor] == rows[1:]
        assert await cursor.fetchone() is None
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT number FROM numbers ORDER BY number")
        parts = [await cursor.fetchmany(100) for _ in range(7)]
        assert [row for part in parts for row in part] == rows


async def test_a_write_has_its_row_count_and_last_row_id(
    connection: aiosqlite.Connection,
) -> None:
    async with connection.cursor() as cursor:
        await cursor.execute("INSERT INTO numbers VALUES (?) RETURNING number", (LONG,))
        assert list(await cursor.fetchall()) == [(LONG,)]
        assert cursor.lastrowid == LONG
        await cursor.execute("DELETE FROM numbers WHERE number >= ?", (LONG - 1,))
        assert cursor.rowcount == 2
        with pytest.raises(sqlite3.IntegrityError):
            await cursor.execute("INSERT INTO numbers VALUES (1)")


async def test_a_transaction_begun_by_a_cancelled_statement_is_rolled_back(connection: aiosqlite.Connection) -> None:
    async with connection.cursor() as cursor:
        statement = asyncio.create_task(cursor.execute("BEGIN IMMEDIATE"))
        await asyncio.sleep(0)
        statement.cancel()
        with pytest.raises(asyncio.CancelledError):
            await statement
    await connection.rollback()
    assert not connection.in_transaction
