"""A gateway for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.gateway.tests.house import House, furnished
from services.gateway.tests.photos import photo


@pytest.fixture
def settings_given() -> dict[str, Any]:
    """Settings of the gateway under test; a test module overrides it."""
    return {}


@pytest.fixture
async def house(settings_given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    for variable in ("PORT", "SAVO_HTTP_PORT", "SAVO_AUTH"):
        monkeypatch.delenv(variable, raising=False)
    async with furnished(settings_given) as house:
        yield house


@pytest.fixture
def jpeg() -> bytes:
    return photo()
