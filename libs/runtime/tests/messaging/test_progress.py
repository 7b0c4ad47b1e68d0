"""Readiness by progress: red when records wait and nothing moves, green when idle."""

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
from savo_runtime.messaging.consuming.progress import Progress, UnhealthyError
from savo_runtime.messaging.consuming.subscriptions import bind, consumes
from savo_runtime.messaging.consuming.topic_consumer import TopicConsumer
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.settings import RuntimeSettings

GROUP = "savo.reasoning.recipes.requested"
P0, P1 = (TopicPartition(RECIPES_REQUESTED.name, number) for number in (0, 1))


class Asked:
    """A consumer of two partitions that has read nothing yet, and what it was asked for."""

    def __init__(self, *assigned: TopicPartition) -> None:
        self.assigned, self.asked = set(assigned), list[str]()

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    def partitions_for_topic(self, _topic: str) -> set[int]:
        return {0, 1}

    async def committed(self, partition: TopicPartition) -> int | None:
        self.asked.append(f"committed {partition.partition}")
        return 5 if partition.partition == 0 else None

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 2)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 9)


class Watch:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@consumes(RECIPES_REQUESTED)
async def on_asked(_: RecipesRequested) -> None:
    return None


@pytest.fixture
def topic_consumer() -> TopicConsumer:
    publisher = Publisher(RuntimeSettings(kafka_bootstrap_servers="kafka:9092"), "reasoning")
    return TopicConsumer(
        bind(on_asked),
        publisher,
        DeadLetters(publisher, "reasoning", lambda: pytest.fail("no clock")),
        list[Exception]().append,
    )


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def progress(topic_consumer: TopicConsumer, watch: Watch) -> Progress:
    return Progress([topic_consumer], clock=watch)


def pass_time(progress: Progress, watch: Watch, seconds: int, position: int, lag: int) -> None:
    for _ in range(seconds // 2):
        watch.now += 2
        progress.note(GROUP, {P0: position}, lag)


async def test_records_that_wait_while_nothing_moves_for_thirty_seconds_turn_it_red(
    progress: Progress, watch: Watch
) -> None:
    pass_time(progress, watch, 30, position=5, lag=3)
    progress.check()
    pass_time(progress, watch, 4, position=5, lag=3)
    with pytest.raises(UnhealthyError, match=r"3 records wait on recipes\.requested and none was done for 32 s"):
        progress.check()
    progress.note(GROUP, {P0: 6}, 2)
    progress.check()


async def test_an_idle_consumer_is_green_for_ever(progress: Progress, watch: Watch) -> None:
    pass_time(progress, watch, 600, position=5, lag=0)
    progress.check()


async def test_a_slow_consumer_that_gets_on_is_green(progress: Progress, watch: Watch) -> None:
    for position in range(10):
        pass_time(progress, watch, 28, position=position, lag=1000)
    progress.check()


async def test_a_dependency_that_is_down_is_named_once_it_turns_red(
    progress: Progress, topic_consumer: TopicConsumer, watch: Watch
) -> None:
    topic_consumer.policy.pauses[ONLY_KIND].begin("database is down: refused")
    pass_time(progress, watch, 10, position=5, lag=3)
    progress.check()
    pass_time(progress, watch, 30, position=5, lag=3)
    with pytest.raises(UnhealthyError, match="database is down: refused"):
        progress.check()


async def test_the_cap_turns_it_red_at_once(progress: Progress, topic_consumer: TopicConsumer) -> None:
    topic_consumer.policy.cap.begin("dead-letter cap reached")
    with pytest.raises(UnhealthyError, match="dead-letter cap reached"):
        progress.check()


async def test_a_kafka_that_does_not_answer_turns_it_red(progress: Progress, watch: Watch) -> None:
    watch.now = 11
    with pytest.raises(UnhealthyError, match="Kafka has not answered"):
        progress.check()


async def test_kafka_is_asked_once_an_assignment_where_untouched_partitions_start(
    progress: Progress, topic_consumer: TopicConsumer
) -> None:
    consumer = Asked(P0, P1)
    topic_consumer.subscriber = cast("Any", SimpleNamespace(consumer=consumer))
    await topic_consumer.parallel.on_partitions_assigned([P0, P1])
    for _ in range(3):
        await progress.sample(topic_consumer)
    assert sorted(consumer.asked) == ["committed 0", "committed 1"]
    assert progress._observations[GROUP].lag == (9 - 5) + (9 - 2)
    await topic_consumer.parallel.on_partitions_revoked([P1])
    await topic_consumer.parallel.on_partitions_assigned([P0, P1])
    await progress.sample(topic_consumer)
    assert Counter(consumer.asked) == {"committed 0": 2, "committed 1": 2}


async def test_a_member_without_partitions_asks_every_time_how_far_the_others_are(
    progress: Progress, topic_consumer: TopicConsumer
) -> None:
    consumer = Asked()
    topic_consumer.subscriber = cast("Any", SimpleNamespace(consumer=consumer))
    for _ in range(2):
        await progress.sample(topic_consumer)
    assert Counter(consumer.asked) == {"committed 0": 2, "committed 1": 2}
