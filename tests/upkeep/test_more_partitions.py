"""Tests of adding partitions to a topic on a real Kafka."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import OffsetAndMetadata

from savo_contracts.topics import MODELS_REGISTERED, RECIPES_REQUESTED, SCANS_CONFIRMED
from savo_operations.partitions import add_partitions
from savo_runtime.errors import FatalError
from savo_runtime.messaging.kafka.client_arguments import group_of
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.settings import RuntimeSettings
from savo_runtime.timing.availability import until_available

MORE = 9
KEYS = [f"recipe-{number}".encode() for number in range(40)]


@pytest.fixture
def settings(kafka: str) -> RuntimeSettings:
    """Settings of a sandbox, which gives the test topics of its own on the shared Kafka."""
    return RuntimeSettings(kafka_bootstrap_servers=kafka, sandbox=f"grow-{uuid4().hex[:8]}")


@pytest.mark.kafka
@pytest.mark.slow
async def test_partitions_are_added_when_all_records_are_read_and_each_key_has_one_partition(
    settings: RuntimeSettings,
) -> None:
    name = name_on_kafka(RECIPES_REQUESTED.name, settings.sandbox)
    await create_topic(settings, name)
    before = await send(settings, name, b"before")
    with pytest.raises(FatalError, match=r"40 records of .* wait for reasoning: stop what writes to it"):
        await until_available(lambda: add_partitions(settings, RECIPES_REQUESTED, MORE))
    await read_all(settings, name)
    earlier = await until_available(lambda: add_partitions(settings, RECIPES_REQUESTED, MORE))
    assert earlier == RECIPES_REQUESTED.partitions
    with pytest.raises(FatalError, match="Kafka can only add"):
        await add_partitions(settings, RECIPES_REQUESTED, MORE)
    after = await send(settings, name, b"after")
    assert set(after) == set(KEYS)
    assert max(after.values()) >= RECIPES_REQUESTED.partitions, "some keys went to a new partition"
    assert any(after[key] != before[key] for key in KEYS), (
        "some keys changed their partition, so no record may be unread"
    )
    assert await read_all(settings, name) == 2 * len(KEYS), "the old records are still there"
    assert await send(settings, name, b"again") == after, "a key keeps its new partition"


@pytest.mark.parametrize("topic", [MODELS_REGISTERED, SCANS_CONFIRMED], ids=lambda topic: topic.name)
async def test_a_compacted_topic_and_a_topic_of_one_partition_are_refused(topic: object) -> None:
    with pytest.raises(FatalError, match="must keep its partitions"):
        await add_partitions(RuntimeSettings(kafka_bootstrap_servers="127.0.0.1:1"), topic, 48)  # type: ignore[arg-type]


async def create_topic(settings: RuntimeSettings, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(name, RECIPES_REQUESTED.partitions, 1)])
    await admin.close()


async def send(settings: RuntimeSettings, name: str, value: bytes) -> dict[bytes, int]:
    """Partition of each key."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        sent = [await producer.send(name, value, key=key) for key in KEYS]
        return {key: place.partition for key, place in zip(KEYS, await asyncio.gather(*sent), strict=True)}
    finally:
        await producer.stop()


async def read_all(settings: RuntimeSettings, name: str) -> int:
    """Reads and commits all records as the reasoning service does, and returns their number."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=group_of("reasoning", name),
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        found = await consumer._client.fetch_all_metadata()
        places = [TopicPartition(name, number) for number in found.partitions_for_topic(name) or ()]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        seen = 0
        while seen < sum(ends.values()):
            seen += sum(map(len, (await consumer.getmany(*places, timeout_ms=500)).values()))
        await consumer.commit({place: OffsetAndMetadata(end, "") for place, end in ends.items()})
        return seen
    finally:
        await consumer.stop()
