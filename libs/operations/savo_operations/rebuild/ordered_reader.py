"""Reader that merges several topics into one sequence, ordered by the records' times.

It reads up to end offsets that are fixed beforehand. Memory is bounded: it buffers a few records of each partition,
however long the topics are.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from itertools import count
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from savo_contracts.topics import Topic
from savo_runtime.messaging.consuming.records import moment_of
from savo_runtime.messaging.kafka.topic_reader import BoundedRead, Offsets, TopicReader
from savo_runtime.settings import RuntimeSettings

__all__ = ["OrderedReader", "open_ordered_reader"]

MAX_BUFFERED = 100
"""Records of a partition in memory, at most."""

FETCH_BYTES = 128 * 1024
"""Bytes that one fetch gets of a partition."""

FETCH_WAIT_MS = 20

_Buffers = Mapping[TopicPartition, deque[ConsumerRecord]]


@asynccontextmanager
async def open_ordered_reader(settings: RuntimeSettings, topics: Iterable[Topic[Any]]) -> AsyncIterator[OrderedReader]:
    """A reader of the topics.

    This and all methods of the reader raise `DependencyDownError("kafka")` when Kafka is not available.
    """
    async with TopicReader(settings, fetch_bytes=FETCH_BYTES, fetch_wait_ms=FETCH_WAIT_MS) as reader:
        yield OrderedReader(reader, await reader.partitions([topic.name for topic in topics]))


class OrderedReader:
    """Reads each record once, and continues after the last one. It commits no offsets."""

    def __init__(self, reader: TopicReader, partitions: Sequence[TopicPartition]) -> None:
        self._reader = reader
        self._partitions = sorted(partitions)
        self._from: dict[TopicPartition, int] | None = None

    async def ends(self) -> Offsets:
        """The current end offset of each partition."""
        return await self._reader.end_offsets(self._partitions)

    async def remaining(self, ends: Offsets) -> int:
        """Offsets between the reader's position and `ends`. A compacted topic has fewer records than offsets."""
        positions = await self._positions()
        return sum(max(0, end - positions[partition]) for partition, end in ends.items())

    async def retained_since(self, topics: Iterable[Topic[Any]]) -> datetime | None:
        """The time since when the topics hold all records; None if Kafka has deleted none of them yet."""
        names = {topic.name for topic in topics}
        beginnings = await self._reader.beginning_offsets([each for each in self._partitions if each.topic in names])
        dropped = {partition: offset for partition, offset in beginnings.items() if offset > 0}
        ends = await self._reader.end_offsets(list(dropped))
        times = [
            time
            for partition in dropped
            if (time := await self._first_record_time(partition, dropped[partition], ends[partition]))
        ]
        return max(times, default=None)

    async def read_until(self, ends: Offsets) -> AsyncIterator[ConsumerRecord]:
        """The records up to `ends`, oldest first. Records of one partition keep their order."""
        positions = await self._positions()
        reading = self._reader.bounded(positions, {partition: ends.get(partition, 0) for partition in positions})
        buffers: _Buffers = {partition: deque() for partition in reading.unfinished}
        heap: list[tuple[int, int, TopicPartition]] = []
        sequence = count()
        for partition in sorted(buffers):
            await self._fill(reading, buffers, partition)
            self._push(heap, sequence, buffers, partition)
        while heap:
            _, _, partition = heapq.heappop(heap)
            yield buffers[partition].popleft()
            if not buffers[partition]:
                await self._fill(reading, buffers, partition)
            self._push(heap, sequence, buffers, partition)
        self._from = {partition: max(positions[partition], ends.get(partition, 0)) for partition in self._partitions}

    def _push(
        self,
        heap: list[tuple[int, int, TopicPartition]],
        sequence: Iterator[int],
        buffers: _Buffers,
        partition: TopicPartition,
    ) -> None:
        if buffers[partition]:
            heapq.heappush(heap, (buffers[partition][0].timestamp, next(sequence), partition))

    async def _fill(self, reading: BoundedRead, buffers: _Buffers, wanted: TopicPartition) -> None:
        """Polls until the wanted partition has a record or is at its end.

        Records of other partitions are buffered too; a partition with a full buffer is not polled.
        """
        while not buffers[wanted] and wanted in reading.unfinished:
            polled = [partition for partition in reading.unfinished if len(buffers[partition]) < MAX_BUFFERED]
            for partition, records, _ in await reading.poll(polled, max_records=MAX_BUFFERED):
                buffers[partition].extend(records)

    async def _positions(self) -> dict[TopicPartition, int]:
        if self._from is None:
            self._from = await self._reader.beginning_offsets(self._partitions)
        return dict(self._from)

    async def _first_record_time(self, partition: TopicPartition, offset: int, end: int) -> datetime | None:
        async with aclosing(self._reader.read({partition: offset}, {partition: end})) as batches:
            async for _, records, _ in batches:
                if records:
                    return moment_of(records[0].timestamp)
        return None
