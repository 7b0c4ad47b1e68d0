"""Several topics read as one story: records of all partitions in the order of their times, up to an end that is fixed before.

Memory is flat: of each partition a few records wait at a time, however long the topics are.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import count
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from savo_contracts.topics import Topic
from savo_runtime.errors import DependencyDownError
from savo_runtime.messaging.consuming.records import moment_of
from savo_runtime.messaging.kafka.broker import connection_arguments, reading_arguments
from savo_runtime.settings import RuntimeSettings

__all__ = ["OrderedReader", "opened"]

WAITING = 100
"""Records of a partition that wait in memory."""

FETCH_BYTES = 128 * 1024
"""Of a partition at a time. A larger record still comes, alone."""

PATIENCE_MS = 500
SILENT_AFTER = 60
"""Times that Kafka may answer nothing while records are still owed: then it is away."""

Offsets = Mapping[TopicPartition, int]


@asynccontextmanager
async def opened(settings: RuntimeSettings, topics: Iterable[Topic[Any]]) -> AsyncIterator[OrderedReader]:
    """Without a group: nothing is committed. Raises `DependencyDownError("kafka")`."""
    named = [topic.name for topic in topics]
    reading = reading_arguments(settings, "") | {"max_partition_fetch_bytes": FETCH_BYTES}
    if settings.embedded_broker:
        reading["fetch_max_wait_ms"] = 20  # it wakes no fetch that waits
    consumer = AIOKafkaConsumer(**connection_arguments(settings), **reading, group_id=None, enable_auto_commit=False)
    try:
        await consumer.start()
        found = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - the only way to ask without subscribing
        consumer.assign([TopicPartition(name, number) for name in named for number in sorted(found.partitions_for_topic(name) or ())])
        yield OrderedReader(consumer)
    except (KafkaError, OSError) as fault:
        raise DependencyDownError("kafka", str(fault) or type(fault).__name__) from fault
    finally:
        await consumer.stop()


class OrderedReader:
    """Reads on from where it was."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._partitions = sorted(consumer.assignment())
        self._from: dict[TopicPartition, int] | None = None

    async def ends(self) -> Offsets:
        """Where the partitions end now."""
        return dict(await self._consumer.end_offsets(self._partitions)) if self._partitions else {}

    async def left_to(self, ends: Offsets) -> int:
        """Offsets from here to there; after compaction fewer records stand on them."""
        positions = await self._positions()
        return sum(max(0, end - positions[partition]) for partition, end in ends.items())

    async def forgotten_until(self, topics: Iterable[Topic[Any]]) -> datetime | None:
        """What is older may be gone from these topics; None when none of them has dropped a record."""
        names = {topic.name for topic in topics}
        beginnings = await self._consumer.beginning_offsets([one for one in self._partitions if one.topic in names])
        dropped = [partition for partition, offset in beginnings.items() if offset > 0]
        moments = [moment for partition in dropped if (moment := await self._first_moment(partition, beginnings[partition]))]
        return max(moments, default=None)

    async def up_to(self, ends: Offsets) -> AsyncIterator[ConsumerRecord]:
        """Oldest first over all partitions; of one partition in its order."""
        positions = await self._positions()
        for partition, offset in positions.items():
            self._consumer.seek(partition, offset)
        open_ones = {partition for partition in self._partitions if positions[partition] < ends.get(partition, 0)}
        self._pause_all_but(open_ones)
        waiting: dict[TopicPartition, deque[ConsumerRecord]] = {partition: deque() for partition in open_ones}
        heap: list[tuple[int, int, TopicPartition]] = []
        turn = count()
        for partition in sorted(open_ones):
            await self._fill(waiting, open_ones, partition, ends)
            self._push(heap, turn, waiting, partition)
        while heap:
            _, _, partition = heapq.heappop(heap)
            record = waiting[partition].popleft()
            yield record
            if not waiting[partition]:
                await self._fill(waiting, open_ones, partition, ends)
            self._push(heap, turn, waiting, partition)
        self._from = {partition: max(positions[partition], ends.get(partition, 0)) for partition in self._partitions}

    def _push(
        self, heap: list[tuple[int, int, TopicPartition]], turn: Any, waiting: Mapping[TopicPartition, deque[ConsumerRecord]], one: TopicPartition
    ) -> None:
        if waiting[one]:
            heapq.heappush(heap, (waiting[one][0].timestamp, next(turn), one))

    async def _fill(self, waiting: dict[TopicPartition, deque[ConsumerRecord]], open_ones: set[TopicPartition], wanted: TopicPartition, ends: Offsets) -> None:
        """Until the wanted partition has a record, or is at its end. Others take what came along, and pause when they have enough."""
        silent = 0
        while not waiting[wanted] and wanted in open_ones:
            came = await self._consumer.getmany(timeout_ms=PATIENCE_MS, max_records=WAITING)
            silent = 0 if came else silent + 1
            if silent > SILENT_AFTER:
                raise DependencyDownError("kafka", f"no record of {wanted.topic}/{wanted.partition} comes, and {ends[wanted]} was its end")
            for partition, records in came.items():
                waiting[partition].extend(record for record in records if record.offset < ends[partition])
            for partition in list(open_ones):
                if await self._consumer.position(partition) >= ends[partition]:
                    open_ones.discard(partition)
            self._pause_all_but({partition for partition in open_ones if len(waiting[partition]) < WAITING})

    def _pause_all_but(self, flowing: set[TopicPartition]) -> None:
        paused = set(self._consumer.paused())
        if still := set(self._partitions) - flowing - paused:
            self._consumer.pause(*still)
        if again := paused & flowing:
            self._consumer.resume(*again)

    async def _positions(self) -> dict[TopicPartition, int]:
        if self._from is None:
            self._from = dict(await self._consumer.beginning_offsets(self._partitions)) if self._partitions else {}
        return dict(self._from)

    async def _first_moment(self, partition: TopicPartition, offset: int) -> datetime | None:
        self._pause_all_but({partition})
        self._consumer.seek(partition, offset)
        for _ in range(4):
            came = await self._consumer.getmany(partition, timeout_ms=PATIENCE_MS, max_records=1)
            if records := came.get(partition):
                return moment_of(records[0].timestamp)
        return None
