"""Concurrent replicas on PostgreSQL, each with its own connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from savo_contracts.measures import LATENCY
from savo_contracts.rollout import RolloutState
from savo_contracts.scans import Arm
from savo_rollout.operator_commands import StartSettings
from savo_rollout.state import MAX_EXPERIMENT
from savo_rollout.steps import StepPolicy
from savo_runtime.database import Database
from savo_runtime.testing import FakeClock, memory_runtime
from services.rollout.tests.events import NOON, completed, confirmed, registered
from services.rollout.tests.harness import Harness, build_harness

pytestmark = pytest.mark.postgres


@pytest.fixture
async def replicas(postgres_url: str) -> AsyncIterator[list[Harness]]:
    """Three replicas that start together on one server, with a shared store and outbox."""
    url, clock = postgres_url.replace("postgresql://", "postgresql+asyncpg://"), FakeClock()
    async with AsyncExitStack() as stack:
        runtimes = []
        for _ in range(3):
            database = Database(url, "rollout")
            stack.push_async_callback(database.close)
            runtimes.append(
                await stack.enter_async_context(
                    memory_runtime("rollout", migrations="savo_rollout.migrations", database=database)
                )
            )
        shared = [replace(runtime, store=runtimes[0].store, outbox=runtimes[0].outbox) for runtime in runtimes]
        harnesses = [
            build_harness(
                runtime, clock, StartSettings(use_custom_vision=True), StepPolicy(min_confirmed=20, min_days=0)
            )
            for runtime in shared
        ]
        await asyncio.gather(*[harness.rollout.start() for harness in harnesses])
        yield harnesses


async def test_replicas_that_record_the_same_scan_concurrently_count_it_once(replicas: list[Harness]) -> None:
    await replicas[0].deliver(registered())
    deliveries = []
    for number in range(60):
        deliveries.append(replicas[number % 3].deliver(completed(f"s{number}", f"u{number % 20}")))
        deliveries.append(replicas[(number + 1) % 3].deliver(confirmed(f"s{number}", f"u{number % 20}")))
    await asyncio.gather(*deliveries)
    arm = (await replicas[2].rollout.report()).arms[Arm.CANDIDATE]
    assert (arm.scans, arm.confirmed, arm.subjects) == (60, 60, 20)
    assert arm.figures[LATENCY.name].estimate == 120.0


async def test_replicas_that_decide_concurrently_make_one_change(replicas: list[Harness]) -> None:
    await replicas[0].deliver(registered())
    await asyncio.gather(
        *[
            replicas[number % 3].deliver(confirmed(f"s{number}", f"u{number}", kept=2, removed=4))
            for number in range(40)
        ]
    )
    await asyncio.gather(*[harness.worker.decide() for harness in replicas])
    states = [event.state for event in await replicas[0].published()]
    assert states.count(RolloutState.ROLLED_BACK) == 1
    assert (await replicas[1].trial()).share == 0.0


async def test_replicas_open_the_experiment_of_a_model_by_path_once(replicas: list[Harness]) -> None:
    start_settings = StartSettings(use_custom_vision=True, pinned_share=0.5, model_path="runs/best.onnx")
    pinned = [replica.restarted(start_settings) for replica in replicas]
    for replica in pinned:
        replica.clock.now = NOON
        await replica.rollout.start()
    name = "b" * MAX_EXPERIMENT
    await asyncio.gather(
        *[pinned[number % 3].deliver(completed(f"s{number}", f"u{number}", experiment=name)) for number in range(30)]
    )
    await pinned[0].deliver(confirmed("s1", "u1", experiment=name))
    report = await pinned[1].rollout.report()
    assert (report.state, report.experiment, report.share) == (RolloutState.PINNED, name, 0.5)
    assert (report.arms[Arm.CANDIDATE].scans, report.arms[Arm.CANDIDATE].confirmed) == (30, 1)
    assert [entry.experiment for entry in report.history].count(name) == 1
