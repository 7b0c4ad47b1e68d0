"""Creation of the registry's topics on a real Kafka, with their partitions and retention."""

from __future__ import annotations

from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from savo_contracts.topics import TOPICS, Retention, Topic, dead_letter_topics
from savo_runtime.errors import FatalError
from savo_runtime.messaging.kafka.client_arguments import MAX_RECORD_BYTES, connection_arguments
from savo_runtime.messaging.kafka.errors import kafka_errors
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.settings import RuntimeSettings

__all__ = ["ensure_topics"]

log = structlog.get_logger()

_DAY = 24 * 60 * 60 * 1000

_RETENTION = {
    Retention.MONTH: {"cleanup.policy": "delete", "retention.ms": str(30 * _DAY)},
    Retention.FOREVER: {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"},
    # Tombstones are kept for a week, so that a reader that was offline still gets every erasure.
    Retention.COMPACT: {
        "cleanup.policy": "compact",
        "delete.retention.ms": str(7 * _DAY),
        "max.compaction.lag.ms": str(_DAY),
    },
}

_SANDBOX_RETENTION = {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY), "retention.bytes": "-1"}
"""A sandbox holds copies that erasures do not reach, so they expire."""


async def ensure_topics(settings: RuntimeSettings) -> list[str]:
    """Create missing topics and return their names. Existing topics are not changed.

    Raises `FatalError` when Kafka refuses a topic, `DependencyDownError` when Kafka cannot be reached. Does nothing for
    the embedded broker, which creates its topics itself.
    """
    if settings.embedded_broker:
        return []
    admin = AIOKafkaAdminClient(**connection_arguments(settings), client_id="savo-topics", request_timeout_ms=15_000)
    try:
        with kafka_errors("its topics cannot be listed or created"):
            await admin.start()
            present = set(await admin.list_topics())
            declared = _declared(settings.kafka_replication_factor, settings.sandbox)
            missing = [topic for topic in declared if topic.name not in present]
            return await _create(admin, missing) if missing else []
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, missing: list[NewTopic]) -> list[str]:
    answer = await admin.create_topics(missing)
    created = []
    for name, code, *messages in answer.topic_errors:
        error = for_code(code)
        if code == 0:
            created.append(name)
        elif error is not TopicAlreadyExistsError:  # another replica may have created it meanwhile
            raise FatalError(
                f"Kafka refuses topic {name}: {error.__name__}{_detail(messages)}"
                " (SAVO_KAFKA_REPLICATION_FACTOR must not exceed the number of brokers)"
            )
    if created:
        log.info("topics.created", topics=created)
    return created


def _detail(messages: list[str | None]) -> str:
    return f": {messages[0]}" if messages and messages[0] else ""


def _declared(replication: int, sandbox: str | None) -> list[NewTopic]:
    retention = _SANDBOX_RETENTION if sandbox else {}
    topics = [(topic.name, topic.partitions, {**_configs(topic, replication), **retention}) for topic in TOPICS]
    dead_letters = [(name, 1, {**_dead_letter_configs(), **retention}) for _, _, name in dead_letter_topics()]
    return [
        NewTopic(name_on_kafka(name, sandbox), partitions, replication, topic_configs=configs)
        for name, partitions, configs in topics + dead_letters
    ]


def _configs(topic: Topic[Any], replication: int) -> dict[str, str]:
    """`min.insync.replicas` allows one replica to be down without stopping writers."""
    return {**_RETENTION[topic.retention], "min.insync.replicas": str(max(1, replication - 1))}


def _dead_letter_configs() -> dict[str, str]:
    """`max.message.bytes` has room for the largest record and its reason headers."""
    return {**_RETENTION[Retention.MONTH], "max.message.bytes": str(MAX_RECORD_BYTES)}
