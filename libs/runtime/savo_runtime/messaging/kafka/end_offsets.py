"""Where partitions end now, asked without a group."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from savo_runtime.messaging.kafka.broker import connection_arguments
from savo_runtime.settings import RuntimeSettings

__all__ = ["end_offsets"]


async def end_offsets(settings: RuntimeSettings, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """The next offset of each. Raises `KafkaError`."""
    consumer = AIOKafkaConsumer(**connection_arguments(settings), group_id=None, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign(list(places))
        found: dict[TopicPartition, int] = await consumer.end_offsets(list(places))
        return found
    finally:
        await consumer.stop()
