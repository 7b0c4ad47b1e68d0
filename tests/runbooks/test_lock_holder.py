"""The commands of the runbook consumer-stuck on a real PostgreSQL: they find and end the session that holds a lock."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import asyncpg  # type: ignore[import-untyped]
import pytest

from tests.runbooks.pages import Page

PAGE = Page("consumer-stuck")

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("psql") is None, reason="PostgreSQL's psql is not installed"),
]


async def psql(url: str, command: str) -> str:
    environment = os.environ | {"SAVO_DATABASE_URL": url}
    run = partial(subprocess.run, env=environment, capture_output=True, text=True, timeout=120, check=False)
    done = await asyncio.to_thread(run, ["bash", "-c", command])
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def command_of(part: str, text: str) -> str:
    (command,) = [line for line in PAGE.commands(part, outside=True) if line.startswith("psql") and text in line]
    return command


@asynccontextmanager
async def locked_row(url: str, statement: str | None) -> AsyncIterator[int]:
    """A row that an open transaction locks, idle or while it runs `statement`. Yields the pid of the session."""
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE counts (total int); INSERT INTO counts VALUES (1)")
    await connection.execute("BEGIN; SELECT * FROM counts FOR UPDATE")
    running = [asyncio.ensure_future(connection.execute(statement))] if statement else []
    try:
        yield connection.get_server_pid()
    finally:
        connection.terminate()
        await asyncio.gather(*running, return_exceptions=True)


async def eventually(url: str, command: str, holds: Callable[[str], bool]) -> str:
    async with asyncio.timeout(90):
        while not holds(answer := await psql(url, command)):
            pass
    return answer


@pytest.mark.parametrize(("statement", "state"), [(None, "idle in transaction"), ("SELECT pg_sleep(60)", "active")])
async def test_the_session_that_holds_a_lock_is_found_and_ended(
    postgres_url: str, statement: str | None, state: str
) -> None:
    async with locked_row(postgres_url, statement) as holder:
        waiter = await asyncpg.connect(postgres_url)
        waiting = asyncio.ensure_future(waiter.execute("UPDATE counts SET total = total + 1"))
        row = rf"^ +{holder} \| {state} +\|.*\| t +\|"
        await eventually(
            postgres_url,
            command_of("Find the cause", "pg_stat_activity"),
            lambda answer: re.search(row, answer, re.MULTILINE) is not None,
        )
        assert not waiting.done()
        await psql(postgres_url, command_of("Fix it", "pg_terminate_backend").replace("PID", str(holder)))
        assert await asyncio.wait_for(waiting, 90) == "UPDATE 1"
        await waiter.close()
