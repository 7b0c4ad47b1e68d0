"""Lag is known of every group: of one that gets on, one that stands still, and one whose members are dead."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from libs.runtime.tests.messaging.bench import Bench, asked, eventually
from savo_contracts.recipes import RecipesRequested
from savo_contracts.topics import RECIPES_REQUESTED
from savo_runtime.errors import DependencyDownError
from savo_runtime.messaging.consuming.subscriptions import bind, consumes
from savo_runtime.messaging.kafka.lag import GroupPosition, GroupReader, LagExporter, StuckTimer
from savo_runtime.telemetry.metrics import CONSUMER_LAG, CONSUMER_STUCK

TOPIC, GROUP = RECIPES_REQUESTED.name, "savo.reasoning.recipes.requested"


class Watch:
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


def stuck(timer: StuckTimer, *places: GroupPosition) -> float:
    return timer.note(places)[TOPIC, GROUP]


def test_one_partition_that_stands_is_seen_though_the_others_move() -> None:
    watch = Watch()
    timer = StuckTimer(watch)
    assert stuck(timer, at(5, 7, 0), at(0, 100, 1)) == 0
    watch.now = 40
    assert stuck(timer, at(5, 7, 0), at(60, 100, 1)) == 40
    watch.now = 50
    assert stuck(timer, at(6, 7, 0), at(99, 100, 1)) == 0


def test_an_idle_partition_is_not_stuck_and_its_idle_time_does_not_count_later() -> None:
    watch = Watch()
    timer = StuckTimer(watch)
    stuck(timer, at(5, 5))
    watch.now = 3600
    assert stuck(timer, at(5, 5)) == 0
    watch.now = 3605
    assert stuck(timer, at(5, 6)) == 5


async def test_lag_goes_up_while_a_dependency_is_down_and_back_to_nothing(bench: Bench, reader: GroupReader) -> None:
    down = True

    @consumes(RECIPES_REQUESTED)
    async def on_asked(_: RecipesRequested) -> None:
        if down:
            raise DependencyDownError("provider", "503")

    for number in range(4):
        await bench.publish(asked(number), partition=number)
    await bench.consume(bind(on_asked))
    assert sum(place.lag for place in await reader.positions()) == 4
    down = False
    await eventually(lambda: nothing_waits(reader))


async def test_lag_of_a_group_whose_members_are_gone_is_told_by_whoever_watches(
    bench: Bench, reader: GroupReader
) -> None:
    @consumes(RECIPES_REQUESTED)
    async def on_asked(_: RecipesRequested) -> None:
        return None

    await bench.publish(asked(0), partition=1)
    consumers = await bench.consume(bind(on_asked))
    await eventually(lambda: nothing_waits(reader))
    await consumers.stop()
    for number in range(3):
        await bench.publish(asked(number), partition=1)
    assert {place.partition: place.lag for place in await reader.positions() if place.lag} == {1: 3}
    clock = Watch()
    exporter = LagExporter(bench.settings, StuckTimer(clock))
    exporter.set_gauges(await reader.positions())
    clock.now = 61
    exporter.set_gauges(await reader.positions())
    assert CONSUMER_LAG.labels(TOPIC, GROUP)._value.get() == 3
    assert CONSUMER_STUCK.labels(TOPIC, GROUP)._value.get() == 61


async def test_a_service_that_the_plan_does_without_lags_only_once_it_has_worked(bench: Bench) -> None:
    @consumes(RECIPES_REQUESTED)
    async def on_asked(_: RecipesRequested) -> None:
        return None

    reader = GroupReader(
        bench.settings.model_copy(update={"optional_services": "trainer,reasoning"}), [RECIPES_REQUESTED]
    )
    await reader.start()
    try:
        await bench.publish(asked(0), partition=1)
        assert await reader.positions() == []
        consumers = await bench.consume(bind(on_asked))
        await eventually(lambda: has_worked(reader))
        await consumers.stop()
        await bench.publish(asked(1), partition=1)
        assert sum(place.lag for place in await reader.positions()) == 1, "it runs elsewhere, and is behind"
    finally:
        await reader.stop()


async def has_worked(reader: GroupReader) -> bool:
    return any(place.position == 1 for place in await reader.positions())


async def nothing_waits(reader: GroupReader) -> bool:
    return not any(place.lag for place in await reader.positions())
