"""Fixtures of the rollout tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from savo_rollout.operator_commands import StartSettings
from savo_rollout.steps import StepPolicy
from savo_runtime.testing import FakeClock, memory_runtime
from services.rollout.tests.harness import Harness, build_harness


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    clock = FakeClock()
    async with memory_runtime("rollout", migrations="savo_rollout.migrations", clock=clock) as runtime:
        harness = build_harness(
            runtime, clock, StartSettings(use_custom_vision=True), StepPolicy(min_confirmed=20, min_days=0)
        )
        await harness.rollout.start()
        yield harness
