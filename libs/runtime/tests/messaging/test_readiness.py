"""Readiness by progress: red when records are pending and no position moves, green when idle."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from savo_contracts.recipes import RecipesRequested
from savo_contracts.topics import RECIPES_REQUESTED
from savo_runtime.messaging.consuming.dead_letters import DeadLetters
from savo_runtime.messaging.consuming.deliveries import ONLY_KIND
from savo_runtime.messaging.consuming.readiness import ConsumerReadiness, UnhealthyError
from savo_runtime.messaging.consuming.subscriptions import bind, consumes
from savo_runtime.messaging.consuming.topic_consumer import TopicConsumer
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.settings import RuntimeSettings

GROUP = "savo.reasoning.recipes.requested"
P0, P1 = (TopicPartition(RECIPES_REQUESTED.name, number) for number in (0, 1))


class FakeConsumer:
    """A consumer of two partitions that has read no record, and records its calls."""

    def __init__(self, *assigned: TopicPartition) -> None:
        self.assigned, self.calls = set(assigned), list[str]()

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    def partitions_for_topic(self, _topic: str) -> set[int]:
        return {0, 1}

    async def committed(self, partition: TopicPartition) -> int | None:
        self.calls.append(f"committed {partition.partition}")
        return 5 if partition.partition == 0 else None

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 2)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 9)


class ManualClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@consumes(RECIPES_REQUESTED)
async def on_requested(_: RecipesRequested) -> None:
    return None


@pytest.fixture
def topic_consumer() -> TopicConsumer:
    publisher = Publisher(RuntimeSettings(kafka_bootstrap_servers="kafka:9092"), "reasoning")
    return TopicConsumer(
        bind(on_requested),
        publisher,
        DeadLetters(publisher, "reasoning", lambda: pytest.fail("no clock")),
        list[Exception]().append,
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def readiness(topic_consumer: TopicConsumer, clock: ManualClock) -> ConsumerReadiness:
    return ConsumerReadiness([topic_consumer], clock=clock)


def pass_time(readiness: ConsumerReadiness, clock: ManualClock, seconds: int, position: int, lag: int) -> None:
    for _ in range(seconds // 2):
        clock.now += 2
        readiness.update(GROUP, {P0: position}, lag)


async def test_readiness_turns_red_when_pending_records_do_not_move_for_thirty_seconds(
    readiness: ConsumerReadiness, clock: ManualClock
) -> None:
    pass_time(readiness, clock, 30, position=5, lag=3)
    readiness.check()
    pass_time(readiness, clock, 4, position=5, lag=3)
    with pytest.raises(UnhealthyError, match=r"3 records wait on recipes\.requested and none was done for 32 s"):
        readiness.check()
    readiness.update(GROUP, {P0: 6}, 2)
    readiness.check()


async def test_an_idle_consumer_stays_ready(readiness: ConsumerReadiness, clock: ManualClock) -> None:
    pass_time(readiness, clock, 600, position=5, lag=0)
    readiness.check()


async def test_a_slow_consumer_with_progress_is_ready(readiness: ConsumerReadiness, clock: ManualClock) -> None:
    for position in range(10):
        pass_time(readiness, clock, 28, position=position, lag=1000)
    readiness.check()


async def test_a_dependency_that_is_down_is_named_when_readiness_turns_red(
    readiness: ConsumerReadiness, topic_consumer: TopicConsumer, clock: ManualClock
) -> None:
    topic_consumer.policy.pauses[ONLY_KIND].begin("database is down: refused")
    pass_time(readiness, clock, 10, position=5, lag=3)
    readiness.check()
    pass_time(readiness, clock, 30, position=5, lag=3)
    with pytest.raises(UnhealthyError, match="database is down: refused"):
        readiness.check()


async def test_readiness_turns_red_at_the_dead_letter_cap(
    readiness: ConsumerReadiness, topic_consumer: TopicConsumer
) -> None:
    topic_consumer.policy.cap.begin("dead-letter cap reached")
    with pytest.raises(UnhealthyError, match="dead-letter cap reached"):
        readiness.check()


async def test_readiness_turns_red_when_kafka_does_not_answer(readiness: ConsumerReadiness, clock: ManualClock) -> None:
    clock.now = 11
    with pytest.raises(UnhealthyError, match="Kafka has not answered"):
        readiness.check()


async def test_start_offsets_are_requested_once_for_each_assignment(
    readiness: ConsumerReadiness, topic_consumer: TopicConsumer
) -> None:
    consumer = FakeConsumer(P0, P1)
    topic_consumer.subscriber = cast("Any", SimpleNamespace(consumer=consumer))
    await topic_consumer.parallel.on_partitions_assigned([P0, P1])
    for _ in range(3):
        await readiness.sample(topic_consumer)
    assert sorted(consumer.calls) == ["committed 0", "committed 1"]
    assert readiness._observations[GROUP].lag == (9 - 5) + (9 - 2)
    await topic_consumer.parallel.on_partitions_revoked([P1])
    await topic_consumer.parallel.on_partitions_assigned([P0, P1])
    await readiness.sample(topic_consumer)
    assert Counter(consumer.calls) == {"committed 0": 2, "committed 1": 2}


async def test_a_member_without_partitions_requests_the_committed_offsets_every_time(
    readiness: ConsumerReadiness, topic_consumer: TopicConsumer
) -> None:
    consumer = FakeConsumer()
    topic_consumer.subscriber = cast("Any", SimpleNamespace(consumer=consumer))
    for _ in range(2):
        await readiness.sample(topic_consumer)
    assert Counter(consumer.calls) == {"committed 0": 2, "committed 1": 2}
