"""A compacted topic read whole by each replica, without a group: from its start to the end it had, then on with what comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from savo_contracts.envelope import Envelope
from savo_runtime.errors import DependencyDownError, FatalError, RetryableError
from savo_runtime.messaging.consuming.dead_letters import reason_of
from savo_runtime.messaging.consuming.records import UnreadableRecordError, decode
from savo_runtime.messaging.consuming.subscriptions import Snapshot
from savo_runtime.messaging.kafka.broker import connection_arguments, reading_arguments
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.replay_mark import within_replay
from savo_runtime.messaging.tracing import about, consuming
from savo_runtime.settings import RuntimeSettings
from savo_runtime.telemetry.metrics import DEAD_LETTERS, RETRIES
from savo_runtime.timing.backoff import Backoff

__all__ = ["SnapshotReader"]

log = structlog.get_logger()


class SnapshotReader:
    """Applies each record in order. One that cannot be read or applied is logged, counted and passed over: there are no dead letters here."""

    def __init__(
        self, settings: RuntimeSettings, snapshot: Snapshot, on_fatal: Callable[[Exception], None], *, attempts: int = 3, backoff: Backoff | None = None
    ) -> None:
        self.topic = snapshot.topic
        self.topic_name = name_on_kafka(snapshot.topic.name, settings.sandbox)
        self.caught_up = asyncio.Event()
        """Stands where the topic ended when it was first read."""
        self._settings = settings
        self._apply = snapshot.apply
        self._on_fatal = on_fatal
        self._attempts = attempts
        self._backoff = backoff or Backoff(0.5, 15.0)
        self._positions: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] | None = None

    async def run(self) -> None:
        """Returns only when cancelled, or after a `FatalError`. A broker that is away is waited for, and reading goes on where it was."""
        failures = 0
        while True:
            positions = dict(self._positions)
            try:
                await self._read()
            except FatalError as fault:
                return self._on_fatal(fault)
            except (KafkaError, OSError) as fault:
                failures = 1 if positions != self._positions else failures + 1
                log.warning("snapshot.interrupted", topic=self.topic.name, error=str(fault) or type(fault).__name__)
                await asyncio.sleep(self._backoff.delay(failures))

    async def _read(self) -> None:
        reading = reading_arguments(self._settings, self.topic.name)
        consumer = AIOKafkaConsumer(**connection_arguments(self._settings), **reading, group_id=None, enable_auto_commit=False)
        try:
            await consumer.start()
            await self._go_to_position(consumer)
            while True:
                await self._note_end(consumer)
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        await self._take(record)
        finally:
            await consumer.stop()

    async def _go_to_position(self, consumer: AIOKafkaConsumer) -> None:
        partitions = [TopicPartition(self.topic_name, number) for number in sorted(await _partitions(consumer, self.topic_name))]
        consumer.assign(partitions)
        if self._ends is None:
            self._ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            if partition in self._positions:
                consumer.seek(partition, self._positions[partition])
            else:
                await consumer.seek_to_beginning(partition)

    async def _note_end(self, consumer: AIOKafkaConsumer) -> None:
        """By the consumer's positions: the last offsets of a compacted topic may hold no record."""
        if self._ends is not None and not self.caught_up.is_set():
            reached = [await consumer.position(partition) >= end for partition, end in self._ends.items()]
            if all(reached):
                log.info("snapshot.caught_up", topic=self.topic.name, offsets=sum(self._ends.values()))
                self.caught_up.set()

    async def _take(self, record: ConsumerRecord) -> None:
        try:
            if record.value is not None:  # a tombstone: its key was erased
                envelope = decode(self.topic, record)
                place = consuming(self.topic.name, envelope.traceparent, partition=record.partition, offset=record.offset)
                with place, about(envelope.event), within_replay(envelope.replay):
                    await self._apply_patiently(envelope)
        except FatalError:
            raise
        except UnreadableRecordError as flaw:
            self._pass_over(record, flaw)
        except Exception as fault:  # noqa: BLE001 - one record must not keep a replica from what comes after it
            self._pass_over(record, fault)
        self._positions[TopicPartition(record.topic, record.partition)] = record.offset + 1

    async def _apply_patiently(self, envelope: Envelope[Any]) -> None:
        failures = 0
        while True:
            try:
                return await self._apply(envelope)
            except (DependencyDownError, RetryableError) as fault:
                failures += 1
                if isinstance(fault, RetryableError) and failures >= self._attempts:
                    raise
                RETRIES.labels(self.topic.name, reason_of(fault)).inc()
                await asyncio.sleep(self._backoff.delay(failures))

    def _pass_over(self, record: ConsumerRecord, fault: Exception) -> None:
        DEAD_LETTERS.labels(self.topic.name, reason_of(fault)).inc()
        log.error("snapshot.record_skipped", topic=self.topic.name, partition=record.partition, offset=record.offset, reason=reason_of(fault), exc_info=fault)


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    """Raises `KafkaError` while the topic is not there."""
    await consumer._client.set_topics([topic])  # noqa: SLF001 - no public call loads a topic's metadata before it is assigned
    partitions: set[int] | None = consumer.partitions_for_topic(topic)
    if not partitions:
        raise KafkaError(f"topic {topic} is not there yet")
    return partitions
