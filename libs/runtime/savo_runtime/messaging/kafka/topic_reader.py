"""Topic reader: reads topics without a consumer group, so nothing is committed and no group is rebalanced.

`TopicReader.read` stops at given end offsets, `follow` continues with new records. `bounded` gives a caller control of
each poll and its partitions. The consumer's position, not a record's offset, tells that a partition is at its end:
compaction and transactions leave offsets without a record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, suppress
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from savo_runtime.errors import DependencyDownError
from savo_runtime.messaging.kafka.client_arguments import MAX_RECORD_BYTES, connection_arguments
from savo_runtime.messaging.kafka.errors import kafka_errors
from savo_runtime.settings import RuntimeSettings

__all__ = ["Batch", "BoundedRead", "Offsets", "TopicReader", "partitions_of"]

CONNECT_WITHIN = 10.0
STOP_WITHIN = 5.0
SILENT_AFTER = 30.0
POLL_MS = 500
POLL_RECORDS = 2_000

Offsets = Mapping[TopicPartition, int]

Batch = tuple[TopicPartition, Sequence[ConsumerRecord], int]
"""A partition, records of it in order, and the offset to continue from after them."""


class TopicReader:
    """A consumer without a group. Topics are named as on Kafka (`name_on_kafka`).

    `fetch_bytes`: most bytes of a partition in one fetch; a larger record is fetched alone. `fetch_wait_ms`: fetch wait
    on the embedded broker, which does not wake a waiting fetch. Every method raises `DependencyDownError("kafka")` when
    the broker does not answer, or sends nothing for `silent_after` seconds although records are left.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        *,
        fetch_bytes: int = MAX_RECORD_BYTES,
        fetch_wait_ms: int = 100,
        silent_after: float = SILENT_AFTER,
    ) -> None:
        self._where = settings.kafka_bootstrap_servers
        self._silent_after = silent_after
        waits = {"fetch_max_wait_ms": fetch_wait_ms} if settings.embedded_broker else {}
        self._consumer = AIOKafkaConsumer(
            **connection_arguments(settings),
            client_id="savo-reader",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=fetch_bytes,
            **waits,
        )

    async def start(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                await self._consumer.start()
        except (KafkaError, TimeoutError, OSError) as error:
            await self.stop()
            raise DependencyDownError(
                "kafka", f"Kafka at {self._where} does not answer ({type(error).__name__})"
            ) from error

    async def stop(self) -> None:
        """Raises nothing."""
        # If its partitions have just changed, aiokafka's fetcher swallows the cancellation, and `stop` would hang.
        with suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(STOP_WITHIN):
                await self._consumer.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        """The partitions of those topics that exist."""
        with self._errors():
            return await partitions_of(self._consumer, topics)

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The first available offset of each partition."""
        with self._errors():
            return dict(await self._consumer.beginning_offsets(list(partitions))) if partitions else {}

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset that the next record of each partition will get."""
        with self._errors():
            return dict(await self._consumer.end_offsets(list(partitions))) if partitions else {}

    async def offsets_at(
        self, partitions: Sequence[TopicPartition], milliseconds: int
    ) -> dict[TopicPartition, int | None]:
        """The first offset of each partition at or after a time in milliseconds since 1970.

        None where there is no such record, or the broker does not support the request.
        """
        if not partitions:
            return {}
        with self._errors():
            found = await self._consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds))
        return {each: found[each].offset if found.get(each) else None for each in partitions}

    async def read_all(self, topics: Iterable[str]) -> AsyncGenerator[Batch, None]:
        """Every record that those topics hold at the time of the call."""
        partitions = await self.partitions(topics)
        starts, ends = await self.beginning_offsets(partitions), await self.end_offsets(partitions)
        async with aclosing(self.read(starts, ends)) as batches:
            async for batch in batches:
                yield batch

    async def read(self, starts: Offsets, ends: Offsets) -> AsyncGenerator[Batch, None]:
        """Records from `starts` up to, and not including, `ends`."""
        reading = self.bounded(starts, ends)
        while reading.unfinished:
            for batch in await reading.poll():
                yield batch

    async def follow(self, starts: Offsets) -> AsyncGenerator[Batch, None]:
        """Records from `starts` on, without end."""
        self._seek(starts)
        while True:
            with self._errors():
                polled = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
            for partition, records in polled.items():
                yield partition, records, records[-1].offset + 1

    def bounded(self, starts: Offsets, ends: Offsets) -> BoundedRead:
        """A read from `starts` up to `ends`, one poll at a time. The next read of this reader invalidates it."""
        unfinished = {partition: offset for partition, offset in starts.items() if offset < ends[partition]}
        if unfinished:
            self._seek(unfinished)
        return BoundedRead(self._consumer, unfinished, ends, self._where, self._silent_after)

    def _seek(self, starts: Offsets) -> None:
        if set(starts) != self._consumer.assignment():
            self._consumer.assign(list(starts))
        elif paused := self._consumer.paused():
            self._consumer.resume(*paused)
        for partition, offset in starts.items():
            self._consumer.seek(partition, offset)

    def _errors(self) -> AbstractContextManager[None]:
        return kafka_errors(f"Kafka at {self._where} cannot be read")


class BoundedRead:
    """A read up to fixed end offsets, controlled poll by poll. Created by `TopicReader.bounded`."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        partitions: Iterable[TopicPartition],
        ends: Offsets,
        where: str,
        silent_after: float,
    ) -> None:
        self.unfinished = set(partitions)
        """Partitions that are not at their end offset yet."""
        self._consumer = consumer
        self._ends = ends
        self._where = where
        self._silent_after = silent_after
        self._silent = 0.0

    async def poll(
        self, wanted: Collection[TopicPartition] | None = None, *, max_records: int = POLL_RECORDS
    ) -> list[Batch]:
        """Records that arrive within half a second; the list may be empty.

        `wanted`: partitions to read from, by default all unfinished ones; the others keep their position. Raises
        `DependencyDownError("kafka")`.
        """
        self._pause_all_but(self.unfinished if wanted is None else self.unfinished.intersection(wanted))
        began = time.monotonic()
        with kafka_errors(f"Kafka at {self._where} cannot be read"):
            polled = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=max_records)
            finished = {
                partition
                for partition in self.unfinished
                if await self._consumer.position(partition) >= self._ends[partition]
            }
        if finished:
            self._consumer.pause(*finished)  # stops fetching records after the end
        self._silent = 0.0 if polled else self._silent + time.monotonic() - began
        self.unfinished -= finished
        if self.unfinished and self._silent > self._silent_after:
            raise DependencyDownError(
                "kafka",
                f"Kafka at {self._where} has sent nothing for {self._silent_after:g} s although records are left",
            )
        return [self._batch(partition, records) for partition, records in polled.items()]

    def _batch(self, partition: TopicPartition, records: Sequence[ConsumerRecord]) -> Batch:
        end = self._ends[partition]
        if records[-1].offset < end:
            return partition, records, records[-1].offset + 1
        return partition, [record for record in records if record.offset < end], end

    def _pause_all_but(self, wanted: Collection[TopicPartition]) -> None:
        paused, assigned = set(self._consumer.paused()), set(self._consumer.assignment())
        if to_pause := assigned - paused - set(wanted):
            self._consumer.pause(*to_pause)
        if to_resume := paused.intersection(wanted):
            self._consumer.resume(*to_resume)


async def partitions_of(consumer: AIOKafkaConsumer, topics: Iterable[str]) -> list[TopicPartition]:
    """The partitions of those topics that exist, in the given order of topics. Raises `KafkaError`."""
    # The public calls know only subscribed topics.
    client = consumer._client  # noqa: SLF001
    metadata = await client.fetch_all_metadata()
    found = [
        TopicPartition(topic, number)
        for topic in topics
        for number in sorted(metadata.partitions_for_topic(topic) or ())
    ]
    # Else a request for offsets learns one topic at a time, with a wait of 0.1 s for each.
    for topic in {partition.topic for partition in found}:
        client.add_topic(topic)
    return found
