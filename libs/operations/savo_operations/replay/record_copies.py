"""Copies of records to a topic: a rate limit, headers that mark a copy, and the copies that already arrived.

A process can stop between Kafka's acknowledgement and the saving of its progress. The header of each copy names its
original, so the next run can read which copies the target received since the saved progress, and skip them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from aiokafka import ConsumerRecord

from savo_contracts.envelope import RecordHeaders
from savo_runtime.messaging.kafka.topic_reader import TopicReader

__all__ = ["FROM_HEADER", "RateLimit", "batches", "copies_since", "header_of", "location_of", "marked_headers"]

FROM_HEADER = "savo-replay-from"
"""Header of a copy: topic/partition/offset of its original."""


class RateLimit:
    """Limit of `rate` records a second; None is no limit."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._began: float | None = None
        self._count = 0

    @property
    def batch_size(self) -> int:
        """Records to send at a time: about five batches a second, so that the limit holds within a second too."""
        return 200 if self._rate is None else max(1, min(200, int(self._rate / 5)))

    async def wait(self, count: int) -> None:
        """Returns when `count` more records may be sent."""
        if self._rate is None:
            return
        now = asyncio.get_running_loop().time()
        self._began = now if self._began is None else self._began
        await asyncio.sleep(max(0.0, self._began + self._count / self._rate - now))
        self._count += count


def location_of(record: ConsumerRecord) -> str:
    """topic/partition/offset."""
    return f"{record.topic}/{record.partition}/{record.offset}"


def header_of(record: ConsumerRecord, name: str) -> str | None:
    """Text of a header; None without one."""
    values = (value for header, value in record.headers if header == name and value is not None)
    return next((value.decode(errors="replace") for value in values), None)


def marked_headers(record: ConsumerRecord, marks: dict[str, str], without: Iterable[str] = ()) -> RecordHeaders:
    """The record's headers except `without` and earlier marks, followed by the new marks."""
    dropped = {*without, *marks}
    kept = [(name, value or b"") for name, value in record.headers if name not in dropped]
    return kept + [(name, value.encode()) for name, value in marks.items()]


async def copies_since(reader: TopicReader, target: str, since: dict[int, int], header: str, run: str) -> set[str]:
    """Locations of the originals whose copies the target received after the offsets `since`.

    `header` and `run`: the header with the id of the run that sent them.
    """
    partitions = await reader.partitions([target])
    ends = await reader.end_offsets(partitions)
    starts = {each: since.get(each.partition, 0) for each in partitions}
    found: set[str] = set()
    async for _, records, _ in reader.read({each: min(offset, ends[each]) for each, offset in starts.items()}, ends):
        found.update(
            location
            for record in records
            if header_of(record, header) == run and (location := header_of(record, FROM_HEADER))
        )
    return found


def batches(records: Sequence[ConsumerRecord], size: int) -> Iterable[Sequence[ConsumerRecord]]:
    """The records in groups of `size`."""
    return (records[at : at + size] for at in range(0, len(records), size))
