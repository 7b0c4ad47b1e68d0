"""Fixture: an HTTP server in the role of a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from libs.providers.tests.wire import Wire, serving


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with serving(Wire()) as running:
        yield running
