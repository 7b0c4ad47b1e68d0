"""Lag of consumer groups: with progress, stuck, and without members."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from libs.runtime.tests.messaging.bench import Bench, eventually, recipes_requested
from savo_contracts.recipes import RecipesRequested
from savo_contracts.topics import RECIPES_REQUESTED
from savo_runtime.errors import DependencyDownError
from savo_runtime.messaging.consuming.subscriptions import bind, consumes
from savo_runtime.messaging.kafka.lag import GroupPosition, GroupReader, LagExporter, StuckTimer
from savo_runtime.telemetry.metrics import CONSUMER_LAG, CONSUMER_STUCK

TOPIC, GROUP = RECIPES_REQUESTED.name, "savo.reasoning.recipes.requested"


class ManualClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def reader(bench: Bench) -> AsyncIterator[GroupReader]:
    reader = GroupReader(bench.settings, [RECIPES_REQUESTED])
    await reader.start()
    yield reader
    await reader.stop()


def at(position: int, end: int, partition: int = 0) -> GroupPosition:
    return GroupPosition(TOPIC, "reasoning", GROUP, partition, position, end)


def stuck(timer: StuckTimer, *positions: GroupPosition) -> float:
    return timer.update(positions)[TOPIC, GROUP]


def test_a_stuck_partition_counts_although_the_others_move() -> None:
    clock = ManualClock()
    timer = StuckTimer(clock)
    assert stuck(timer, at(5, 7, 0), at(0, 100, 1)) == 0
    clock.now = 40
    assert stuck(timer, at(5, 7, 0), at(60, 100, 1)) == 40
    clock.now = 50
    assert stuck(timer, at(6, 7, 0), at(99, 100, 1)) == 0


def test_an_idle_partition_is_not_stuck_and_its_idle_time_does_not_count_later() -> None:
    clock = ManualClock()
    timer = StuckTimer(clock)
    stuck(timer, at(5, 5))
    clock.now = 3600
    assert stuck(timer, at(5, 5)) == 0
    clock.now = 3605
    assert stuck(timer, at(5, 6)) == 5


async def test_lag_grows_while_a_dependency_is_down_and_returns_to_zero(bench: Bench, reader: GroupReader) -> None:
    down = True

    @consumes(RECIPES_REQUESTED)
    async def on_requested(_: RecipesRequested) -> None:
        if down:
            raise DependencyDownError("provider", "503")

    for number in range(4):
        await bench.publish(recipes_requested(number), partition=number)
    await bench.consume(bind(on_requested))
    assert sum(group.lag for group in await reader.positions()) == 4
    down = False
    await eventually(lambda: no_lag(reader))


async def test_the_lag_of_a_group_without_members_is_exported(bench: Bench, reader: GroupReader) -> None:
    @consumes(RECIPES_REQUESTED)
    async def on_requested(_: RecipesRequested) -> None:
        return None

    await bench.publish(recipes_requested(0), partition=1)
    consumers = await bench.consume(bind(on_requested))
    await eventually(lambda: no_lag(reader))
    await consumers.stop()
    for number in range(3):
        await bench.publish(recipes_requested(number), partition=1)
    assert {group.partition: group.lag for group in await reader.positions() if group.lag} == {1: 3}
    clock = ManualClock()
    exporter = LagExporter(bench.settings, StuckTimer(clock))
    exporter.set_gauges(await reader.positions())
    clock.now = 61
    exporter.set_gauges(await reader.positions())
    assert CONSUMER_LAG.labels(TOPIC, GROUP)._value.get() == 3
    assert CONSUMER_STUCK.labels(TOPIC, GROUP)._value.get() == 61


async def test_an_optional_service_has_lag_only_after_its_first_commit(bench: Bench) -> None:
    @consumes(RECIPES_REQUESTED)
    async def on_requested(_: RecipesRequested) -> None:
        return None

    reader = GroupReader(
        bench.settings.model_copy(update={"optional_services": "trainer,reasoning"}), [RECIPES_REQUESTED]
    )
    await reader.start()
    try:
        await bench.publish(recipes_requested(0), partition=1)
        assert await reader.positions() == []
        consumers = await bench.consume(bind(on_requested))
        await eventually(lambda: has_committed(reader))
        await consumers.stop()
        await bench.publish(recipes_requested(1), partition=1)
        assert sum(group.lag for group in await reader.positions()) == 1, "it runs elsewhere and has one pending record"
    finally:
        await reader.stop()


async def has_committed(reader: GroupReader) -> bool:
    return any(group.position == 1 for group in await reader.positions())


async def no_lag(reader: GroupReader) -> bool:
    return not any(group.lag for group in await reader.positions())
