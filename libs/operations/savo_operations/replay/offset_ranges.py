"""Ranges of offsets between two positions of a topic, bounded by its current end.

Kafka finds the offset for a time. The embedded broker does not, so a reader skips the records outside the times.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from aiokafka import ConsumerRecord, TopicPartition

from savo_operations.replay.positions import AtTime, End, Offset, Position, Start
from savo_runtime.messaging.kafka.topic_reader import Batch, TopicReader

__all__ = ["OffsetRange", "find_offset_range", "read_offset_range"]

_Offsets = Mapping[TopicPartition, int]


@dataclass(frozen=True)
class OffsetRange:
    """Offsets to read by partition; the ends are not included.

    `since_ms`, `until_ms`: bounds for the records' timestamps, in milliseconds since 1970, if the broker could not find
    their offsets.
    """

    starts: dict[TopicPartition, int]
    ends: dict[TopicPartition, int]
    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def offsets(self) -> int:
        """Number of offsets. A compacted topic has fewer records."""
        return sum(max(0, self.ends[partition] - start) for partition, start in self.starts.items())

    def remaining(self, reached: Mapping[TopicPartition, int]) -> OffsetRange:
        """The range that is left after the offsets `reached`."""
        return OffsetRange(
            {partition: max(start, reached.get(partition, start)) for partition, start in self.starts.items()},
            self.ends,
            self.since_ms,
            self.until_ms,
        )

    def within(self, records: Sequence[ConsumerRecord]) -> Sequence[ConsumerRecord]:
        """The records that are within the bounds of time."""
        if self.since_ms is None and self.until_ms is None:
            return records
        first, last = self.since_ms or 0, self.until_ms if self.until_ms is not None else 1 << 62
        return [record for record in records if first <= record.timestamp < last]


async def find_offset_range(
    reader: TopicReader, partitions: Sequence[TopicPartition], since: Position, until: Position
) -> OffsetRange:
    """The range from `since` to `until`, at most to the current end offsets. Raises `DependencyDownError`."""
    if not partitions:
        return OffsetRange({}, {})
    chosen = [
        each
        for each in partitions
        if all(not isinstance(at, Offset) or at.partition in (None, each.partition) for at in (since, until))
    ]
    begins, ends = await asyncio.gather(reader.beginning_offsets(chosen), reader.end_offsets(chosen))
    starts, since_ms = await _offsets_of(reader, since, begins, ends, unknown=begins)
    stops, until_ms = await _offsets_of(reader, until, begins, ends, unknown=ends)
    return OffsetRange({each: min(starts[each], stops[each]) for each in chosen}, dict(stops), since_ms, until_ms)


async def read_offset_range(reader: TopicReader, offset_range: OffsetRange) -> AsyncGenerator[Batch, None]:
    """Batches of one partition in its order, each with the offset to continue from. Raises `DependencyDownError`."""
    async with aclosing(reader.read(offset_range.starts, offset_range.ends)) as batches:
        async for partition, records, reached in batches:
            yield partition, offset_range.within(records), reached


async def _offsets_of(
    reader: TopicReader, at: Position, begins: _Offsets, ends: _Offsets, *, unknown: _Offsets
) -> tuple[_Offsets, int | None]:
    """The position's offsets. If the broker cannot find a time: the offsets `unknown`, and the time in milliseconds."""
    match at:
        case Start():
            return begins, None
        case End():
            return ends, None
        case Offset(offset):
            return {each: min(max(offset, begins[each]), ends[each]) for each in begins}, None
        case AtTime():
            if not await _finds_times(reader, begins, ends):
                return unknown, at.milliseconds
            found = await reader.offsets_at(list(begins), at.milliseconds)
            return {each: ends[each] if offset is None else offset for each, offset in found.items()}, None


async def _finds_times(reader: TopicReader, begins: _Offsets, ends: _Offsets) -> bool:
    # Every record is newer than 1970: a broker that does not find an offset for that time finds none for any time.
    filled = next((each for each in begins if begins[each] < ends[each]), None)
    return filled is None or (await reader.offsets_at([filled], 0))[filled] is not None
