"""Several topics read as one sequence: records of all partitions in the order of their times, up to ends that are fixed before.

Memory is flat: of each partition a few records wait at a time, however long the topics are.
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

WAITING = 100
"""Records of a partition that wait in memory."""

FETCH_BYTES = 128 * 1024
"""Of a partition at a time."""

FETCH_WAIT_MS = 20

_Waiting = Mapping[TopicPartition, deque[ConsumerRecord]]


@asynccontextmanager
async def open_ordered_reader(settings: RuntimeSettings, topics: Iterable[Topic[Any]]) -> AsyncIterator[OrderedReader]:
    """Raises `DependencyDownError("kafka")`, as do all methods of the reader."""
    async with TopicReader(settings, fetch_bytes=FETCH_BYTES, fetch_wait_ms=FETCH_WAIT_MS) as reader:
        yield OrderedReader(reader, await reader.partitions([topic.name for topic in topics]))


class OrderedReader:
    """Reads on from where it was. Nothing is committed."""

    def __init__(self, reader: TopicReader, partitions: Sequence[TopicPartition]) -> None:
        self._reader = reader
        self._partitions = sorted(partitions)
        self._from: dict[TopicPartition, int] | None = None

    async def ends(self) -> Offsets:
        """Where the partitions end now."""
        return await self._reader.end_offsets(self._partitions)

    async def remaining(self, ends: Offsets) -> int:
        """Offsets from here to there; after compaction fewer records stand on them."""
        positions = await self._positions()
        return sum(max(0, end - positions[partition]) for partition, end in ends.items())

    async def retained_since(self, topics: Iterable[Topic[Any]]) -> datetime | None:
        """What is older may be gone from these topics; None when none of them has dropped a record."""
        names = {topic.name for topic in topics}
        beginnings = await self._reader.beginning_offsets([each for each in self._partitions if each.topic in names])
        dropped = {partition: offset for partition, offset in beginnings.items() if offset > 0}
        ends = await self._reader.end_offsets(list(dropped))
        moments = [
            moment
            for partition in dropped
            if (moment := await self._first_moment(partition, dropped[partition], ends[partition]))
        ]
        return max(moments, default=None)

    async def read_until(self, ends: Offsets) -> AsyncIterator[ConsumerRecord]:
        """Oldest first over all partitions; of one partition in its order."""
        positions = await self._positions()
        reading = self._reader.bounded(positions, {partition: ends.get(partition, 0) for partition in positions})
        waiting: _Waiting = {partition: deque() for partition in reading.unfinished}
        heap: list[tuple[int, int, TopicPartition]] = []
        turn = count()
        for partition in sorted(waiting):
            await self._fill(reading, waiting, partition)
            self._push(heap, turn, waiting, partition)
        while heap:
            _, _, partition = heapq.heappop(heap)
            yield waiting[partition].popleft()
            if not waiting[partition]:
                await self._fill(reading, waiting, partition)
            self._push(heap, turn, waiting, partition)
        self._from = {partition: max(positions[partition], ends.get(partition, 0)) for partition in self._partitions}

    def _push(
        self,
        heap: list[tuple[int, int, TopicPartition]],
        turn: Iterator[int],
        waiting: _Waiting,
        partition: TopicPartition,
    ) -> None:
        if waiting[partition]:
            heapq.heappush(heap, (waiting[partition][0].timestamp, next(turn), partition))

    async def _fill(self, reading: BoundedRead, waiting: _Waiting, wanted: TopicPartition) -> None:
        """Until the wanted partition has a record, or is at its end. Others take what comes along, and pause when they have enough."""
        while not waiting[wanted] and wanted in reading.unfinished:
            flowing = [partition for partition in reading.unfinished if len(waiting[partition]) < WAITING]
            for partition, records, _ in await reading.poll(flowing, max_records=WAITING):
                waiting[partition].extend(records)

    async def _positions(self) -> dict[TopicPartition, int]:
        if self._from is None:
            self._from = await self._reader.beginning_offsets(self._partitions)
        return dict(self._from)

    async def _first_moment(self, partition: TopicPartition, offset: int, end: int) -> datetime | None:
        async with aclosing(self._reader.read({partition: offset}, {partition: end})) as batches:
            async for _, records, _ in batches:
                if records:
                    return moment_of(records[0].timestamp)
        return None
