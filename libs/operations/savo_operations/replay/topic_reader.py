"""Topics read by hand: no group, nothing committed, nobody disturbed. From a position to the ends that stood when reading began, or on and on.

Kafka finds an offset for a time; the embedded broker does not, so there a time is found by reading from the start and passing over what is older.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from savo_operations.replay.positions import End, Moment, Offset, Position, Start
from savo_runtime.errors import DependencyDownError
from savo_runtime.messaging.kafka.broker import MAX_RECORD_BYTES, connection_arguments
from savo_runtime.settings import RuntimeSettings

__all__ = ["Span", "TopicReader"]

CONNECT_WITHIN = 10.0
SILENT_AFTER = 30.0
WAIT_MS = 500
MOST_RECORDS = 2_000
"""In one batch."""


@dataclass(frozen=True)
class Span:
    """What to read: offsets by partition, ends not included, and the times that the records must lie in where Kafka could not say."""

    starts: dict[TopicPartition, int]
    ends: dict[TopicPartition, int]
    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def offsets(self) -> int:
        """At most so many records: a compacted topic has fewer."""
        return sum(max(0, self.ends[partition] - start) for partition, start in self.starts.items())

    def going_on(self, reached: dict[TopicPartition, int]) -> Span:
        """The same span from where somebody came to."""
        return Span({partition: max(start, reached.get(partition, start)) for partition, start in self.starts.items()}, self.ends, self.since_ms, self.until_ms)

    def within(self, records: Sequence[ConsumerRecord]) -> Sequence[ConsumerRecord]:
        if self.since_ms is None and self.until_ms is None:
            return records
        first, last = self.since_ms or 0, self.until_ms if self.until_ms is not None else 1 << 62
        return [record for record in records if first <= record.timestamp < last]


class TopicReader:
    """A consumer of its own. Raises `DependencyDownError("kafka")` when the broker does not answer. Topics are named as on Kafka."""

    def __init__(self, settings: RuntimeSettings, *, silent_after: float = SILENT_AFTER) -> None:
        self._where = settings.kafka_bootstrap_servers
        self._silent_after = silent_after
        # The embedded broker wakes no waiting fetch, so there a fetch must not wait long.
        waits = {"fetch_max_wait_ms": 100} if settings.embedded_broker else {}
        self._consumer = AIOKafkaConsumer(
            **connection_arguments(settings),
            client_id="savo-reader",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=MAX_RECORD_BYTES,
            **waits,
        )

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                await self._consumer.start()
        except (KafkaError, TimeoutError, OSError) as flaw:
            await self.__aexit__()
            raise DependencyDownError("kafka", f"Kafka at {self._where} does not answer ({type(flaw).__name__})") from flaw
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(KafkaError, OSError):
            await self._consumer.stop()

    async def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Of those topics that are there."""
        found = await self._consumer._client.fetch_all_metadata()  # noqa: SLF001 - no public call tells of topics that nobody subscribed to
        return [TopicPartition(topic, number) for topic in topics for number in sorted(found.partitions_for_topic(topic) or ())]

    async def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict(await self._consumer.end_offsets(list(partitions))) if partitions else {}

    async def span(self, partitions: Sequence[TopicPartition], since: Position, until: Position) -> Span:
        """Bounded to what is there now."""
        if not partitions:
            return Span({}, {})
        chosen = [each for each in partitions if all(not isinstance(at, Offset) or at.partition in (None, each.partition) for at in (since, until))]
        begins, ends = await asyncio.gather(self._consumer.beginning_offsets(chosen), self._consumer.end_offsets(chosen))
        starts, since_ms = await self._places(chosen, since, begins, ends, unknown=begins)
        stops, until_ms = await self._places(chosen, until, begins, ends, unknown=ends)
        return Span({each: min(starts[each], stops[each]) for each in chosen}, stops, since_ms, until_ms)

    async def _places(
        self,
        partitions: list[TopicPartition],
        at: Position,
        begins: dict[TopicPartition, int],
        ends: dict[TopicPartition, int],
        *,
        unknown: dict[TopicPartition, int],
    ) -> tuple[dict[TopicPartition, int], int | None]:
        """Offsets, and the time to look for by reading where the broker cannot find it."""
        match at:
            case Start():
                return begins, None
            case End():
                return ends, None
            case Offset(offset):
                return {each: min(max(offset, begins[each]), ends[each]) for each in partitions}, None
            case Moment():
                if not await self._finds_times(partitions, begins, ends):
                    return unknown, at.milliseconds
                found = await self._consumer.offsets_for_times(dict.fromkeys(partitions, at.milliseconds))
                return {each: found[each].offset if found.get(each) else ends[each] for each in partitions}, None

    async def _finds_times(self, partitions: list[TopicPartition], begins: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> bool:
        """Every record is newer than 1970: who cannot find that one cannot look up times."""
        filled = next((each for each in partitions if begins[each] < ends[each]), None)
        return filled is None or (await self._consumer.offsets_for_times({filled: 0})).get(filled) is not None

    async def read(self, span: Span) -> AsyncGenerator[tuple[TopicPartition, Sequence[ConsumerRecord], int], None]:
        """Batches of one partition in its order, each with the offset to go on from. Ends at the span's ends."""
        left = {partition for partition, start in span.starts.items() if start < span.ends[partition]}
        self._go_to({partition: span.starts[partition] for partition in left})
        heard = time.monotonic()
        while left:
            batches = await self._consumer.getmany(timeout_ms=WAIT_MS, max_records=MOST_RECORDS)
            for partition, records in batches.items():
                end, heard = span.ends[partition], time.monotonic()
                if records[-1].offset >= end - 1:
                    records = [record for record in records if record.offset < end]
                    left.discard(partition)
                    self._consumer.pause(partition)
                yield partition, span.within(records), min(end, records[-1].offset + 1) if records else end
            if not batches:
                # The last offsets of a compacted topic may hold no record.
                left -= {partition for partition in left if await self._consumer.position(partition) >= span.ends[partition]}
                self._check_silence(heard)

    async def follow(self, starts: dict[TopicPartition, int]) -> AsyncGenerator[tuple[TopicPartition, Sequence[ConsumerRecord], int], None]:
        """Batches for ever, as they come."""
        self._go_to(starts)
        while True:
            for partition, records in (await self._consumer.getmany(timeout_ms=WAIT_MS, max_records=MOST_RECORDS)).items():
                yield partition, records, records[-1].offset + 1

    def _go_to(self, starts: dict[TopicPartition, int]) -> None:
        self._consumer.assign(list(starts))
        for partition, offset in starts.items():
            self._consumer.seek(partition, offset)

    def _check_silence(self, heard: float) -> None:
        if time.monotonic() - heard > self._silent_after:
            raise DependencyDownError("kafka", f"Kafka at {self._where} has sent nothing for {self._silent_after:g} s, though records are left")
