"""Increase of a topic's number of partitions without breaking the order of a key's records.

A key's partition depends on the number of partitions: after the change most keys move. A newer record in the new
partition could overtake one in the old partition, so the consumers must have read everything before. Two kinds of
topics are refused: a topic of one partition, which promises the order of all records, and a compacted topic, where a
tombstone in the new partition would not delete the key's record in the old one.
"""

from __future__ import annotations

from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import for_code

from savo_contracts.topics import Retention, Topic
from savo_runtime.errors import FatalError
from savo_runtime.messaging.kafka.client_arguments import connection_arguments, group_of
from savo_runtime.messaging.kafka.errors import kafka_errors
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.kafka.topic_reader import TopicReader
from savo_runtime.settings import RuntimeSettings

__all__ = ["add_partitions"]


async def add_partitions(settings: RuntimeSettings, topic: Topic[Any], count: int) -> int:
    """Increases the topic to `count` partitions and returns the earlier number.

    The topic's producers must be stopped, and its consumers must have read all records.
    Raises `FatalError` for a topic that must keep its partitions, for a `count` that is no increase, and while
    consumers have records to read; `DependencyDownError` when Kafka is not available.
    """
    _require_growable(topic)
    name = name_on_kafka(topic.name, settings.sandbox)
    admin = AIOKafkaAdminClient(**connection_arguments(settings), client_id="savo-topics", request_timeout_ms=15_000)
    try:
        with kafka_errors(f"{name} cannot be changed"):
            await admin.start()
            before = await _partitions(admin, name)
            if count <= before:
                raise FatalError(
                    f"{name} has {before} partitions, and Kafka can only add: set --partitions above {before}"
                )
            await _require_read(settings, admin, topic, name, before)
            answer = await admin.create_partitions({name: NewPartitions(total_count=count)})
            for _, code, *details in answer.topic_errors:
                if code:
                    reason = f"{for_code(code).__name__} {details[0] if details else ''}".strip()
                    raise FatalError(f"Kafka refuses {count} partitions for {name}: {reason}")
            return before
    finally:
        await admin.close()


def _require_growable(topic: Topic[Any]) -> None:
    if topic.partitions == 1:
        raise FatalError(f"{topic.name} must keep its partitions: its one partition keeps the order of all its records")
    if topic.retention is Retention.COMPACT:
        reason = "it is compacted, and an erasure in a new partition would not delete the record in the old one"
        raise FatalError(f"{topic.name} must keep its partitions: {reason}")


async def _partitions(admin: AIOKafkaAdminClient, name: str) -> int:
    (found,) = await admin.describe_topics([name])
    if not found["partitions"]:
        raise FatalError(f"Kafka has no topic {name}: create it with python -m savo_runtime.prepare")
    return len(found["partitions"])


async def _require_read(
    settings: RuntimeSettings, admin: AIOKafkaAdminClient, topic: Topic[Any], name: str, partitions: int
) -> None:
    async with TopicReader(settings) as reader:
        ends = await reader.end_offsets([TopicPartition(name, number) for number in range(partitions)])
    for service in topic.consumers:
        group = group_of(service, name)
        committed = await admin.list_consumer_group_offsets(group)
        offsets = {partition: found.offset for partition, found in committed.items()}
        unread = sum(end - max(0, offsets.get(partition, 0)) for partition, end in ends.items())
        if unread > 0:
            raise FatalError(
                f"{unread} records of {name} wait for {service}: stop what writes to it ({', '.join(topic.producers)}),"
                f" let {service} finish, and try again"
            )
