"""Fixtures of the gateway's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.gateway.tests.harness import GatewayHarness, running_gateway
from services.gateway.tests.photos import photo


@pytest.fixture
def gateway_settings() -> dict[str, Any]:
    """Settings of the gateway under test. Test modules and classes override it."""
    return {}


@pytest.fixture
async def gateway(gateway_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GatewayHarness]:
    for variable in ("PORT", "SAVO_HTTP_PORT", "SAVO_AUTH"):
        monkeypatch.delenv(variable, raising=False)
    async with running_gateway(gateway_settings) as gateway:
        yield gateway


@pytest.fixture
def jpeg() -> bytes:
    return photo()
