"""Failures of a real Kafka: a killed broker, a hanging broker, rebalances."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from libs.runtime.tests.messaging.bench import (
    NOON,
    TIMEOUT,
    Bench,
    eventually,
    open_bench,
    recipes_requested,
    recipes_suggested,
)
from savo_contracts.recipes import RecipesRequested, RecipesSuggested
from savo_contracts.topics import RECIPES_REQUESTED, RECIPES_SUGGESTED, SUBJECTS_ERASED
from savo_contracts.users import SubjectErased
from savo_runtime.errors import DependencyDownError
from savo_runtime.messaging.consuming.readiness import UnhealthyError
from savo_runtime.messaging.consuming.subscriptions import Subscription, bind, consumes, publishes, read_snapshot
from savo_runtime.messaging.kafka.topics import ensure_topics
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.settings import RuntimeSettings
from tests.parts.kafka import RealKafka

pytestmark = pytest.mark.kafka

KAFKA_ONLY = pytest.mark.parametrize("broker_kind", ["kafka"], indirect=True)


def counting_handler(handled: Counter[str], seconds: float, concurrency: int) -> Subscription:
    @consumes(RECIPES_REQUESTED)
    @publishes(RECIPES_SUGGESTED)
    async def on_requested(event: RecipesRequested) -> RecipesSuggested:
        await asyncio.sleep(seconds)
        handled[event.recipe_id] += 1
        return recipes_suggested(event.recipe_id)

    return bind(on_requested, concurrency=concurrency)


@KAFKA_ONLY
@pytest.mark.parametrize("concurrency", [1, 8])
async def test_members_that_join_and_leave_lose_no_record_and_repeat_few(bench: Bench, concurrency: int) -> None:
    by_first, by_second = Counter[str](), Counter[str]()
    first = await bench.consume(counting_handler(by_first, 0.005 * concurrency, concurrency))
    enough = asyncio.Event()
    sending = asyncio.create_task(_send_until(bench, enough))
    await eventually(lambda: len(by_first) > 20)
    second = await bench.consume(counting_handler(by_second, 0.005 * concurrency, concurrency))
    await eventually(lambda: by_second.total() > 20)
    await first.stop()
    await asyncio.sleep(0.2)
    enough.set()
    sent = await sending
    await eventually(lambda: len(by_first | by_second) == sent)
    await second.stop()
    assert await bench.committed("reasoning", RECIPES_REQUESTED) == sent
    assert (by_first + by_second).total() - sent <= 2 * concurrency, (
        "repeats are at most the running records of two rebalances"
    )


@pytest.mark.slow
async def test_no_event_is_lost_when_a_broker_is_killed(own_kafka: RealKafka) -> None:
    settings = RuntimeSettings(kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    await ensure_topics(settings)
    handled: Counter[str] = Counter()
    subjects: list[str] = []

    @consumes(SUBJECTS_ERASED)
    async def on_erased(event: SubjectErased) -> None:
        subjects.append(event.subject)

    async with AsyncExitStack() as stack:
        bench = await open_bench(settings, "kafka", stack)
        consumers = await bench.consume(counting_handler(handled, 0.0, 4), snapshots=[read_snapshot(on_erased)])
        publisher = Publisher(settings, "gateway", deadline=3.0)
        stack.push_async_callback(publisher.stop)
        await bench.publish(recipes_requested("before"))
        await bench.publish(SubjectErased(subject="before", erased_at=NOON))
        await eventually(lambda: handled["before"] == 1 and subjects == ["before"])

        own_kafka.kill()
        with pytest.raises(DependencyDownError, match="kafka is down"):
            await publisher.publish(recipes_requested("during"))
        await asyncio.to_thread(own_kafka.start)

        await _publish_until_acknowledged(publisher, recipes_requested("after"))
        await _publish_until_acknowledged(publisher, SubjectErased(subject="after", erased_at=NOON))
        await eventually(lambda: handled["after"] >= 1 and "after" in subjects)
        assert subjects.count("before") == 1, "the snapshot continued at its position"
        await consumers.check()


@pytest.mark.slow
async def test_a_service_stops_in_time_while_kafka_is_down(own_kafka: RealKafka) -> None:
    settings = RuntimeSettings(kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    await ensure_topics(settings)
    handled: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        bench = await open_bench(settings, "kafka", stack)
        consumers = await bench.consume(counting_handler(handled, 0.0, 1))
        await bench.publish(recipes_requested("before"))
        await eventually(lambda: handled["before"] == 1)
        own_kafka.kill()
        async with asyncio.timeout(20):
            await consumers.stop()


@pytest.mark.slow
async def test_readiness_turns_red_while_a_broker_hangs(own_kafka: RealKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("savo_runtime.messaging.consuming.readiness.SAMPLE_EVERY", 0.1)
    monkeypatch.setattr("savo_runtime.messaging.consuming.readiness.SILENT_AFTER", 2.0)
    monkeypatch.setattr("savo_runtime.messaging.consuming.readiness.ANSWER_WITHIN", 1.0)
    settings = RuntimeSettings(kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    await ensure_topics(settings)
    async with AsyncExitStack() as stack:
        bench = await open_bench(settings, "kafka", stack)
        consumers = await bench.consume(counting_handler(Counter(), 0.0, 1))
        await eventually(lambda: _is_ready(consumers))
        own_kafka.suspend()
        try:
            await eventually(
                lambda: _is_not_ready(consumers, "Kafka has not answered the consumer of recipes.requested")
            )
        finally:
            own_kafka.resume()
        await eventually(lambda: _is_ready(consumers))


async def _send_until(bench: Bench, enough: asyncio.Event) -> int:
    count = 0
    while not enough.is_set():
        await bench.publish(recipes_requested(count), partition=count % 6)
        count += 1
        await asyncio.sleep(0.01)
    return count


async def _publish_until_acknowledged(publisher: Publisher, event: Any) -> None:
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                return await publisher.publish(event)
            except DependencyDownError:
                await asyncio.sleep(0.1)


async def _is_ready(consumers: Any) -> bool:
    try:
        await consumers.check()
    except UnhealthyError:
        return False
    return True


async def _is_not_ready(consumers: Any, reason: str) -> bool:
    try:
        await consumers.check()
    except UnhealthyError as error:
        return reason in str(error)
    return False
