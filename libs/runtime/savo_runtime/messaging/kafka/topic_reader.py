"""Topics read without a group: nothing is committed and no consumer is disturbed. Up to ends that are fixed before, or on and on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from savo_runtime.errors import DependencyDownError
from savo_runtime.messaging.kafka.broker import MAX_RECORD_BYTES, connection_arguments
from savo_runtime.settings import RuntimeSettings

__all__ = ["Batch", "TopicReader"]

CONNECT_WITHIN = 10.0
SILENT_AFTER = 30.0
WAIT_MS = 500
MOST_RECORDS = 2_000
"""In one batch."""

Batch = tuple[TopicPartition, Sequence[ConsumerRecord], int]
"""Records of one partition, and the offset to go on from after them."""


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

    async def beginnings(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict(await self._consumer.beginning_offsets(list(partitions))) if partitions else {}

    async def offsets_at(self, partitions: Sequence[TopicPartition], milliseconds: int) -> dict[TopicPartition, int | None]:
        """The first offset at or after that time since 1970; None where there is none, or the broker cannot find it."""
        found = await self._consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds)) if partitions else {}
        return {each: found[each].offset if found.get(each) else None for each in partitions}

    async def read(self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> AsyncGenerator[Batch, None]:
        """Batches of one partition in its order, each with the offset to go on from, up to the ends."""
        left = {partition for partition, start in starts.items() if start < ends[partition]}
        self._go_to({partition: starts[partition] for partition in left})
        heard = time.monotonic()
        while left:
            batches = await self._consumer.getmany(timeout_ms=WAIT_MS, max_records=MOST_RECORDS)
            for partition, records in batches.items():
                end, heard = ends[partition], time.monotonic()
                if records[-1].offset >= end - 1:
                    records = [record for record in records if record.offset < end]
                    left.discard(partition)
                    self._consumer.pause(partition)
                yield partition, records, min(end, records[-1].offset + 1) if records else end
            if not batches:
                # The last offsets of a compacted topic may hold no record.
                left -= {partition for partition in left if await self._consumer.position(partition) >= ends[partition]}
                self._check_silence(heard)

    async def follow(self, starts: Mapping[TopicPartition, int]) -> AsyncGenerator[Batch, None]:
        """Batches for ever, as they come."""
        self._go_to(starts)
        while True:
            for partition, records in (await self._consumer.getmany(timeout_ms=WAIT_MS, max_records=MOST_RECORDS)).items():
                yield partition, records, records[-1].offset + 1

    def _go_to(self, starts: Mapping[TopicPartition, int]) -> None:
        self._consumer.assign(list(starts))
        for partition, offset in starts.items():
            self._consumer.seek(partition, offset)

    def _check_silence(self, heard: float) -> None:
        if time.monotonic() - heard > self._silent_after:
            raise DependencyDownError("kafka", f"Kafka at {self._where} has sent nothing for {self._silent_after:g} s, though records are left")
