"""Fixtures that run a test on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from savo_runtime.database import Database
from savo_runtime.settings import RuntimeSettings

BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=BOTH)
def database_settings(request: pytest.FixtureRequest, tmp_path: Path) -> RuntimeSettings:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    return RuntimeSettings(data_dir=tmp_path, database_url=url)


@pytest.fixture
async def database(database_settings: RuntimeSettings) -> AsyncIterator[Database]:
    opened = Database.open(database_settings, "thing")
    yield opened
    await opened.close()
