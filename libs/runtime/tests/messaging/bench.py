"""Test bench: publishes and consumes on one broker, and reads the resulting records and offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from savo_contracts.envelope import Envelope, Event
from savo_contracts.recipes import RecipesRequested, RecipesSuggested
from savo_contracts.topics import (
    RECIPES_REQUESTED,
    RECIPES_SUGGESTED,
    SUBJECTS_ERASED,
    TRAINING_THRESHOLD_REACHED,
    Topic,
)
from savo_runtime.messaging.consuming.consumers import Consumers
from savo_runtime.messaging.consuming.policy import PolicyLimits
from savo_runtime.messaging.consuming.subscriptions import Snapshot, Subscription
from savo_runtime.messaging.kafka.topics import ensure_topics
from savo_runtime.messaging.publishing.publisher import Publisher, record_of
from savo_runtime.settings import RuntimeSettings

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)

QUICK = PolicyLimits(
    first_delay=0.01, max_delay=0.05, first_probe=0.05, max_probe=0.2, cap_probe=0.3, finish_within=5.0
)

TIMEOUT = 90.0
"""Seconds until a test fails: far more than a busy machine needs, since only failing tests wait so long."""

USED: list[Topic[Any]] = [RECIPES_REQUESTED, RECIPES_SUGGESTED, SUBJECTS_ERASED, TRAINING_THRESHOLD_REACHED]


def recipes_requested(number: int | str, scan: str = "scan") -> RecipesRequested:
    return RecipesRequested(
        recipe_id=str(number), scan_id=scan, subject="subject", ingredients=("egg",), requested_at=NOON, expires_at=NOON
    )


def recipes_suggested(recipe_id: str) -> RecipesSuggested:
    return RecipesSuggested(
        recipe_id=recipe_id, scan_id="scan", subject="subject", provider="p", model="m", suggested_at=NOON
    )


async def eventually(condition: Callable[[], bool | Awaitable[bool]], within: float = TIMEOUT) -> None:
    """Polls until the condition is true; fails after `within` seconds."""
    try:
        async with asyncio.timeout(within):
            while True:
                result = condition()
                if result if isinstance(result, bool) else await result:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"the condition is still false after {within:g} s")


@dataclass
class Bench:
    """A broker with empty topics, a producer of raw records, and consumers that are stopped at the end."""

    settings: RuntimeSettings
    kind: str
    publisher: Publisher
    producer: AIOKafkaProducer
    stack: AsyncExitStack
    consumers: list[Consumers] = field(default_factory=list)

    async def consume(
        self,
        *subscriptions: Subscription,
        snapshots: Sequence[Snapshot] = (),
        service: str = "reasoning",
        limits: PolicyLimits = QUICK,
        publisher: Any = None,
    ) -> Consumers:
        consumers = Consumers(
            self.settings,
            service,
            publisher or self.publisher,
            subscriptions,
            snapshots,
            limits=limits,
            clock=lambda: NOON,
        )
        self.stack.push_async_callback(consumers.stop)
        await consumers.start()
        self.consumers.append(consumers)
        return consumers

    async def send(
        self,
        topic: str,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        key: bytes = b"key",
        partition: int = 0,
    ) -> int:
        sent = await self.producer.send_and_wait(topic, value, key=key, headers=list(headers), partition=partition)
        return int(sent.offset)

    async def publish(self, event: Event, event_id: UUID | None = None, partition: int = 0) -> UUID:
        """Publish like the product, but on a given partition."""
        envelope = Envelope.new(event, "test", event_id=event_id or uuid4(), time=NOON)
        record = record_of(envelope)
        await self.producer.send_and_wait(
            record.topic, record.value, key=record.key, headers=record.headers, partition=partition
        )
        return envelope.id

    async def read(self, topic: str, count: int, within: float = TIMEOUT) -> list[ConsumerRecord]:
        """The first `count` records of a topic; fails when there are fewer after `within` seconds."""
        wait = 20 if self.kind == "embedded" else 500
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=self.settings.kafka_bootstrap_servers,
            auto_offset_reset="earliest",
            group_id=None,
            fetch_max_wait_ms=wait,
        )
        await consumer.start()
        found: list[ConsumerRecord] = []
        try:
            async with asyncio.timeout(within):
                while len(found) < count:
                    found.append(await consumer.getone())
        except TimeoutError:
            pytest.fail(f"{len(found)} of {count} records on {topic} within {within:g} s")
        finally:
            await consumer.stop()
        return found

    async def size(self, topic: str) -> int:
        ends = await self._end_offsets(topic)
        return sum(ends.values())

    async def committed(self, service: str, topic: Topic[Any]) -> int:
        """Sum of the offsets that the service's group has committed, over all partitions."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap_servers,
            group_id=f"savo.{service}.{topic.name}",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            return sum([await consumer.committed(partition) or 0 for partition in await self._end_offsets(topic.name)])
        finally:
            await consumer.stop()

    async def _end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka_bootstrap_servers, group_id=None)
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, number) for number in await self.producer.partitions_for(topic)]
            ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
            return ends
        finally:
            await consumer.stop()


async def open_bench(settings: RuntimeSettings, kind: str, stack: AsyncExitStack) -> Bench:
    publisher = Publisher(settings, "reasoning", deadline=TIMEOUT, clock=lambda: NOON)
    stack.push_async_callback(publisher.stop)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers, max_request_size=2**21)
    await producer.start()
    stack.push_async_callback(producer.stop)
    return Bench(settings, kind, publisher, producer, stack)


async def clean_topics(settings: RuntimeSettings, used: Sequence[Topic[Any]] = USED) -> None:
    """Delete and recreate the topics of these tests, which also deletes the offsets of their groups."""
    names = {topic.name for topic in used} | {
        topic.dead_letters(service) for topic in used for service in topic.consumers
    }
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    try:
        present = names & set(await admin.list_topics())
        if present:
            await admin.delete_topics(list(present))
        while names & set(await admin.list_topics()):
            await asyncio.sleep(0.05)
    finally:
        await admin.close()
    await ensure_topics(settings)
