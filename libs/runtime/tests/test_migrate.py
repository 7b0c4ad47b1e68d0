"""Command `python -m savo_runtime.migrate`: the tables of services before a deploy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from savo_contracts.topics import SERVICES
from savo_runtime.database import Database
from savo_runtime.migrate import main
from savo_runtime.settings import RuntimeSettings
from tests.parts.addresses import free_port


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("SAVO_DATABASE_URL", raising=False)
    return tmp_path


@pytest.mark.postgres
def test_every_service_gets_its_tables_and_a_second_time_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAVO_DATABASE_URL", postgres_url)
    assert main([]) == 0
    output = capsys.readouterr().out
    assert all(service in output for service in SERVICES)
    assert main(["rollout", "gateway"]) == 0
    assert capsys.readouterr().out == "tables of rollout, gateway are in their newest form\n"


async def test_the_tables_of_a_single_service_are_migrated(folder: Path) -> None:
    assert await asyncio.to_thread(main, ["collector"]) == 0
    assert [path.name for path in (folder / "db").glob("*.sqlite3")] == ["collector.sqlite3"]
    database = Database.open(RuntimeSettings(data_dir=folder), "collector")
    async with database.session(read_only=True) as session:
        assert (await session.scalars(text("SELECT count(*) FROM alembic_version"))).one() == 1
    await database.close()


def test_a_service_that_is_not_installed_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["kitchen"])
    assert ended.value.code == 2
    assert "no service kitchen is installed here; there are collector, gateway" in capsys.readouterr().err


def test_an_unavailable_database_ends_the_command_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("savo_runtime.migrate.START_SECONDS", -1.0)
    monkeypatch.setenv("SAVO_DATABASE_URL", f"postgres://savo:hush@127.0.0.1:{free_port()}/savo")
    assert main(["gateway"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("savo: ")
    assert "database" in errors
    assert "hush" not in errors
