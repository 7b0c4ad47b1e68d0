"""Snapshot reader: reads a compacted topic from its start, without a consumer group, and then follows new records.

Each replica reads the whole topic. It is caught up at the end offsets that the topic had when it first connected.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from savo_contracts.envelope import Envelope
from savo_runtime.errors import DependencyDownError, FatalError, RetryableError
from savo_runtime.messaging.consuming.dead_letters import reason_of
from savo_runtime.messaging.consuming.records import decode
from savo_runtime.messaging.consuming.subscriptions import Snapshot
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.kafka.topic_reader import Batch, TopicReader
from savo_runtime.messaging.replay_mark import within_replay
from savo_runtime.messaging.tracing import consumer_span, scan_log_context
from savo_runtime.settings import RuntimeSettings
from savo_runtime.telemetry.metrics import DEAD_LETTERS, RETRIES
from savo_runtime.timing.backoff import Backoff

__all__ = ["SnapshotReader"]

log = structlog.get_logger()

FETCH_WAIT_MS = 250
"""Longest fetch wait on the embedded broker. No user waits for these records."""


class SnapshotReader:
    """Applies each record in order.

    A record that cannot be decoded or applied is logged, counted and skipped: snapshots have no dead letters.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        snapshot: Snapshot,
        on_fatal: Callable[[Exception], None],
        *,
        attempts: int = 3,
        backoff: Backoff | None = None,
    ) -> None:
        self.topic = snapshot.topic
        self.topic_name = name_on_kafka(snapshot.topic.name, settings.sandbox)
        self.caught_up = asyncio.Event()
        """Set when every record that the topic held at the first connection has been read."""
        self._settings = settings
        self._apply = snapshot.apply
        self._on_fatal = on_fatal
        self._attempts = attempts
        self._backoff = backoff or Backoff(0.5, 15.0)
        self._positions: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] | None = None

    async def run(self) -> None:
        """Returns only when cancelled, or after a `FatalError`. While the broker is down, waits and then continues."""
        failures = 0
        while True:
            positions = dict(self._positions)
            try:
                await self._read()
            except FatalError as error:
                return self._on_fatal(error)
            except DependencyDownError as error:
                failures = 1 if positions != self._positions else failures + 1
                log.warning("snapshot.interrupted", topic=self.topic.name, error=str(error))
                await asyncio.sleep(self._backoff.delay(failures))

    async def _read(self) -> None:
        """Read from the start, or from the last position, to the first end offsets; then follow new records."""
        async with TopicReader(self._settings, fetch_wait_ms=FETCH_WAIT_MS) as reader:
            partitions = await reader.partitions([self.topic_name])
            if not partitions:
                raise DependencyDownError("kafka", f"topic {self.topic_name} does not exist yet")
            if self._ends is None:
                self._ends = await reader.end_offsets(partitions)
            self._positions = await reader.beginning_offsets(partitions) | self._positions
            if not self.caught_up.is_set():
                starts = {partition: self._positions[partition] for partition in self._ends}
                await self._process_all(reader.read(starts, self._ends))
                log.info("snapshot.caught_up", topic=self.topic.name)
                self.caught_up.set()
            await self._process_all(reader.follow(self._positions))

    async def _process_all(self, reading: AsyncGenerator[Batch, None]) -> None:
        async with aclosing(reading) as batches:
            async for _, records, _ in batches:
                for record in records:
                    await self._process(record)

    async def _process(self, record: ConsumerRecord) -> None:
        try:
            if record.value is not None:  # a tombstone: its key was erased
                envelope = decode(self.topic, record)
                span = consumer_span(
                    self.topic.name, envelope.traceparent, partition=record.partition, offset=record.offset
                )
                with span, scan_log_context(envelope.event), within_replay(envelope.replay):
                    await self._apply_with_retries(envelope)
        except FatalError:
            raise
        except Exception as error:  # noqa: BLE001 - one record must not block the records after it
            self._skip(record, error)
        self._positions[TopicPartition(record.topic, record.partition)] = record.offset + 1

    async def _apply_with_retries(self, envelope: Envelope[Any]) -> None:
        failures = 0
        while True:
            try:
                return await self._apply(envelope)
            except (DependencyDownError, RetryableError) as error:
                failures += 1
                if isinstance(error, RetryableError) and failures >= self._attempts:
                    raise
                RETRIES.labels(self.topic.name, reason_of(error)).inc()
                await asyncio.sleep(self._backoff.delay(failures))

    def _skip(self, record: ConsumerRecord, error: Exception) -> None:
        DEAD_LETTERS.labels(self.topic.name, reason_of(error)).inc()
        log.error(
            "snapshot.record_skipped",
            topic=self.topic.name,
            partition=record.partition,
            offset=record.offset,
            reason=reason_of(error),
            exc_info=error,
        )
