"""Backup and restore of consumer groups' committed offsets.

After a restore the groups read again every record that the restored databases do not contain. On another cluster the
offsets are meaningless, so every group starts at the beginning of its topic. Erasure topics are always read from the
beginning: a restored database does not contain the erasures after the backup.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError
from aiokafka.structs import OffsetAndMetadata

from savo_contracts.topics import SAMPLES_ERASED, SCANS_ERASED, SUBJECTS_ERASED, TOPICS, Topic
from savo_runtime.errors import FatalError
from savo_runtime.messaging.kafka.client_arguments import connection_arguments, group_of
from savo_runtime.messaging.kafka.errors import kafka_errors
from savo_runtime.messaging.kafka.topic_reader import partitions_of
from savo_runtime.settings import RuntimeSettings

__all__ = ["ERASURES", "CommittedOffsets", "read_committed_offsets", "restore_committed_offsets"]

ERASURES: tuple[Topic[Any], ...] = (SUBJECTS_ERASED, SCANS_ERASED, SAMPLES_ERASED)
"""Topics of erasures, which must be applied again however old the backup is."""


@dataclass(frozen=True)
class CommittedOffsets:
    """Committed offsets: group → topic → partition → next offset."""

    cluster: str
    groups: Mapping[str, Mapping[str, Mapping[int, int]]]

    def as_json(self) -> dict[str, Any]:
        return {"cluster": self.cluster, "groups": self.groups}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> CommittedOffsets:
        groups = {
            group: {
                topic: {int(number): int(offset) for number, offset in parts.items()} for topic, parts in topics.items()
            }
            for group, topics in found["groups"].items()
        }
        return cls(str(found["cluster"]), groups)


async def read_committed_offsets(settings: RuntimeSettings) -> CommittedOffsets:
    """The committed offsets of all groups. Raises `DependencyDownError` when Kafka is not available."""
    async with _admin(settings) as admin:
        groups: dict[str, dict[str, dict[int, int]]] = {}
        for group, _ in _groups():
            for partition, committed in (await admin.list_consumer_group_offsets(group)).items():
                if committed.offset >= 0:
                    topics = groups.setdefault(group, {})
                    topics.setdefault(partition.topic, {})[partition.partition] = committed.offset
        return CommittedOffsets(await _cluster(admin), groups)


async def restore_committed_offsets(settings: RuntimeSettings, positions: CommittedOffsets) -> int:
    """Commits the offsets for all groups and returns the number of partitions.

    Raises `FatalError` for a group that has a member, `DependencyDownError` when Kafka is not available.
    """
    async with _admin(settings) as admin:
        same = await _cluster(admin) == positions.cluster
    return sum(
        [
            await _commit(settings, group, topic, positions.groups.get(group, {}).get(topic.name, {}) if same else {})
            for group, topic in _groups()
        ]
    )


async def _commit(settings: RuntimeSettings, group: str, topic: Topic[Any], offsets: Mapping[int, int]) -> int:
    async with _member(settings, group) as consumer:
        partitions = await partitions_of(consumer, [topic.name])
        if not partitions:
            return 0
        consumer.assign(partitions)
        beginnings, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        chosen = {}
        for partition in partitions:
            offset = offsets.get(partition.partition, 0)
            from_beginning = topic in ERASURES or not beginnings[partition] <= offset <= ends[partition]
            chosen[partition] = OffsetAndMetadata(beginnings[partition] if from_beginning else offset, "")
        try:
            await consumer.commit(chosen)
        except (CommitFailedError, UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError) as error:
            raise _has_member(group) from error
        return len(chosen)


def _has_member(group: str) -> FatalError:
    return FatalError(f"the consumer group {group} has a member: stop its service, wait 10 s, and try again")


def _groups() -> Iterator[tuple[str, Topic[Any]]]:
    for topic in TOPICS:
        for service in topic.consumers:
            yield group_of(service, topic.name), topic


async def _cluster(admin: AIOKafkaAdminClient) -> str:
    return str((await admin.describe_cluster())["cluster_id"])


@asynccontextmanager
async def _admin(settings: RuntimeSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**connection_arguments(settings), client_id="savo-backup", request_timeout_ms=15_000)
    try:
        with kafka_errors("offsets cannot be read"):
            await admin.start()
            yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def _member(settings: RuntimeSettings, group: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(**connection_arguments(settings), group_id=group, enable_auto_commit=False)
    try:
        with kafka_errors(f"offsets of {group} cannot be set"):
            await consumer.start()
            yield consumer
    finally:
        await consumer.stop()
