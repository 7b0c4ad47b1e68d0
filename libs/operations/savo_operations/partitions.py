"""More partitions for a topic, at a moment when the order of a key cannot break.

A key's partition follows from the number of partitions: after the change most keys go elsewhere. What waits in the old partition could
then be overtaken, so nothing may wait. A topic of one partition promises the order of all its records; a compacted one keeps a key's
newest record in each partition, and a tombstone in the new one leaves the old one standing: both are refused.
"""

from __future__ import annotations

from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import for_code

from savo_contracts.topics import Retention, Topic
from savo_runtime.errors import FatalError
from savo_runtime.messaging.kafka.broker import connection_arguments, group_of
from savo_runtime.messaging.kafka.errors import kafka_errors
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.kafka.topic_reader import TopicReader
from savo_runtime.settings import RuntimeSettings

__all__ = ["add_partitions"]


async def add_partitions(settings: RuntimeSettings, topic: Topic[Any], count: int) -> int:
    """From how many partitions it went to `count`. Stop what writes to the topic first, and let its readers finish.

    Raises `FatalError` for a topic that must not grow, for fewer partitions than it has, and while records wait; `DependencyDownError`.
    """
    if topic.partitions == 1 or topic.retention is Retention.COMPACT:
        why = (
            "its one partition keeps the order of all its records"
            if topic.partitions == 1
            else "it is compacted, and erasures would miss the old partition"
        )
        raise FatalError(f"{topic.name} must keep its partitions: {why}")
    name = name_on_kafka(topic.name, settings.sandbox)
    admin = AIOKafkaAdminClient(**connection_arguments(settings), client_id="savo-topics", request_timeout_ms=15_000)
    try:
        with kafka_errors(f"{name} cannot be changed"):
            await admin.start()
            before = await _partitions(admin, name)
            if count <= before:
                raise FatalError(f"{name} has {before} partitions; Kafka can only add, so --partitions must be more")
            await _require_read(settings, admin, topic, name, before)
            answer = await admin.create_partitions({name: NewPartitions(total_count=count)})
            for _, code, *details in answer.topic_errors:
                if code:
                    raise FatalError(
                        f"Kafka refuses {count} partitions for {name}: {for_code(code).__name__} {details[0] if details else ''}".strip()
                    )
            return before
    finally:
        await admin.close()


async def _partitions(admin: AIOKafkaAdminClient, name: str) -> int:
    (found,) = await admin.describe_topics([name])
    if not found["partitions"]:
        raise FatalError(f"Kafka has no topic {name}; python -m savo_runtime.prepare makes it")
    return len(found["partitions"])


async def _require_read(
    settings: RuntimeSettings, admin: AIOKafkaAdminClient, topic: Topic[Any], name: str, partitions: int
) -> None:
    async with TopicReader(settings) as reader:
        ends = await reader.end_offsets([TopicPartition(name, number) for number in range(partitions)])
    for service in topic.consumers:
        group = group_of(service, name)
        committed = {place: found.offset for place, found in (await admin.list_consumer_group_offsets(group)).items()}
        waiting = sum(end - max(0, committed.get(place, 0)) for place, end in ends.items())
        if waiting > 0:
            raise FatalError(
                f"{waiting} records of {name} wait for {service}: stop what writes to it ({', '.join(topic.producers)}), let {service} finish, and try again"
            )
