"""The registry's topics on a real Kafka: made where they are missing, with their partitions and retention."""

from __future__ import annotations

from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from savo_contracts.topics import TOPICS, Retention, Topic, dead_letter_topics
from savo_runtime.errors import FatalError
from savo_runtime.messaging.kafka.broker import MAX_RECORD_BYTES, connection_arguments
from savo_runtime.messaging.kafka.errors import kafka_errors
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.settings import RuntimeSettings

__all__ = ["ensure_topics"]

log = structlog.get_logger()

_DAY = 24 * 60 * 60 * 1000

_RETENTION = {
    Retention.MONTH: {"cleanup.policy": "delete", "retention.ms": str(30 * _DAY)},
    Retention.FOREVER: {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"},
    # Tombstones stay a week, so that a reader that was away sees every erasure.
    Retention.COMPACT: {
        "cleanup.policy": "compact",
        "delete.retention.ms": str(7 * _DAY),
        "max.compaction.lag.ms": str(_DAY),
    },
}

_SANDBOX_RETENTION = {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY), "retention.bytes": "-1"}
"""A sandbox holds copies that no erasure reaches: they go by themselves."""


async def ensure_topics(settings: RuntimeSettings) -> list[str]:
    """Make what is missing; the names of what was made. Topics that exist are left as they are.

    Raises `FatalError` when Kafka refuses, `DependencyDownError` when it cannot be reached. The embedded broker has its topics from the start.
    """
    if settings.embedded_broker:
        return []
    admin = AIOKafkaAdminClient(**connection_arguments(settings), client_id="savo-topics", request_timeout_ms=15_000)
    try:
        with kafka_errors("its topics cannot be listed or made"):
            await admin.start()
            present = set(await admin.list_topics())
            missing = [
                topic
                for topic in _wanted(settings.kafka_replication_factor, settings.sandbox)
                if topic.name not in present
            ]
            return await _create(admin, missing) if missing else []
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, missing: list[NewTopic]) -> list[str]:
    answer = await admin.create_topics(missing)
    made = []
    for name, code, *words in answer.topic_errors:
        error = for_code(code)
        if code == 0:
            made.append(name)
        elif error is not TopicAlreadyExistsError:  # another replica was quicker
            raise FatalError(
                f"Kafka refuses topic {name}: {error.__name__}{_because(words)} (SAVO_KAFKA_REPLICATION_FACTOR must not exceed the number of brokers)"
            )
    if made:
        log.info("topics.created", topics=made)
    return made


def _because(words: list[str | None]) -> str:
    return f": {words[0]}" if words and words[0] else ""


def _wanted(replication: int, sandbox: str | None) -> list[NewTopic]:
    kept = _SANDBOX_RETENTION if sandbox else {}
    topics = [(topic.name, topic.partitions, {**_configs(topic, replication), **kept}) for topic in TOPICS]
    letters = [(name, 1, {**_dead_letter_configs(), **kept}) for _, _, name in dead_letter_topics()]
    return [
        NewTopic(name_on_kafka(name, sandbox), partitions, replication, topic_configs=configs)
        for name, partitions, configs in topics + letters
    ]


def _configs(topic: Topic[Any], replication: int) -> dict[str, str]:
    """One copy may be away without stopping the writers."""
    return {**_RETENTION[topic.retention], "min.insync.replicas": str(max(1, replication - 1))}


def _dead_letter_configs() -> dict[str, str]:
    """Room for the largest record and its reasons."""
    return {**_RETENTION[Retention.MONTH], "max.message.bytes": str(MAX_RECORD_BYTES)}
