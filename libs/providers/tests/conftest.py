"""A server of the provider's, and calls that wait for nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from libs.providers.tests.wire import Wire, serving


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with serving(Wire()) as running:
        yield running
