from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from savo_rollout.control import Switches
from savo_rollout.steps import StepPolicy
from savo_runtime.testing import FakeClock, memory_runtime
from services.rollout.tests.harness import House, furnished


@pytest.fixture
async def house() -> AsyncIterator[House]:
    clock = FakeClock()
    async with memory_runtime("rollout", migrations="savo_rollout.migrations", clock=clock) as runtime:
        house = furnished(runtime, clock, Switches(use_custom_vision=True), StepPolicy(min_confirmed=20, min_days=0))
        await house.rollout.start()
        yield house
