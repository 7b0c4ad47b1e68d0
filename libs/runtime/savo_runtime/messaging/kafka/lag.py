"""Consumer lag of every group of the product, measured from Kafka and exported as metrics.

A member that is stuck or dead cannot report its own lag. So two services, of which one may fail, ask Kafka for the
committed offsets of every group and export the lag of whole groups. Both export the same values: queries take the
`max`, never the `sum`.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from savo_contracts.topics import ROLLOUT_CHANGED, TOPICS, Topic
from savo_runtime.errors import DependencyDownError
from savo_runtime.messaging.kafka.client_arguments import connection_arguments, group_of
from savo_runtime.messaging.kafka.errors import kafka_errors
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.kafka.topic_reader import TopicReader
from savo_runtime.settings import RuntimeSettings
from savo_runtime.telemetry.metrics import CONSUMER_LAG, CONSUMER_STUCK

__all__ = ["EXPORT_EVERY", "GroupPosition", "GroupReader", "LagExporter", "StuckTimer"]

log = structlog.get_logger()

EXPORT_EVERY = 5.0
"""Seconds."""
ANSWER_WITHIN = 10.0

_SNAPSHOT_TOPICS = frozenset({ROLLOUT_CHANGED})
"""Topics that each replica reads from the start, without a group: they have no lag."""


@dataclass(frozen=True)
class GroupPosition:
    """The position of a consumer group on one partition, as offsets."""

    topic: str
    service: str
    group: str
    partition: int
    position: int
    """Offset of the next record to process: the committed offset, else the partition's beginning."""
    end: int
    """Offset that the next published record will get."""

    @property
    def lag(self) -> int:
        return max(0, self.end - self.position)


class GroupReader:
    """Reads the positions of consumer groups from Kafka without joining one.

    `start` and `positions` raise `DependencyDownError` when Kafka does not answer. Services in `SAVO_OPTIONAL_SERVICES`
    are included only once they have committed an offset.
    """

    def __init__(self, settings: RuntimeSettings, topics: Iterable[Topic[Any]] = TOPICS) -> None:
        self._groups = [
            (topic, service, group_of(service, name_on_kafka(topic.name, settings.sandbox)))
            for topic in topics
            if topic not in _SNAPSHOT_TOPICS
            for service in topic.consumers
        ]
        self._optional = frozenset((settings.optional_services or "").split(","))
        self._sandbox = settings.sandbox
        self._where = settings.kafka_bootstrap_servers
        self._admin = AIOKafkaAdminClient(**connection_arguments(settings), client_id="savo-lag")
        self._reader = TopicReader(settings)

    async def start(self) -> None:
        await self._reader.start()
        with kafka_errors(f"Kafka at {self._where} does not answer"):
            await self._admin.start()

    async def stop(self) -> None:
        """Raises nothing."""
        await asyncio.gather(self._reader.stop(), self._admin.close(), return_exceptions=True)

    async def positions(self) -> list[GroupPosition]:
        """The current position of every group on each of its partitions."""
        names = {topic.name: name_on_kafka(topic.name, self._sandbox) for topic, *_ in self._groups}
        found = await self._reader.partitions(names.values())  # not cached: partitions may be added
        beginnings, ends = await asyncio.gather(self._reader.beginning_offsets(found), self._reader.end_offsets(found))
        partitions = {
            name: [partition for partition in found if partition.topic == kafka_name]
            for name, kafka_name in names.items()
        }
        with kafka_errors(f"Kafka at {self._where} does not report committed offsets"):
            committed = await asyncio.gather(
                *(self._committed(group, partitions[topic.name]) for topic, _, group in self._groups)
            )
        return [
            GroupPosition(
                topic=topic.name,
                service=service,
                group=group,
                partition=partition.partition,
                position=max(offsets.get(partition, -1), beginnings[partition]),
                end=ends[partition],
            )
            for (topic, service, group), offsets in zip(self._groups, committed, strict=True)
            if service not in self._optional or any(offset >= 0 for offset in offsets.values())
            for partition in partitions[topic.name]
        ]

    async def _committed(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        # Partitions are named explicitly, because the embedded broker does not support a request for all of them.
        answer = await self._admin.list_consumer_group_offsets(group, partitions=list(partitions))
        return {partition: found.offset for partition, found in answer.items()}


class StuckTimer:
    """Measures how long pending records of a partition have not moved. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[tuple[str, int], tuple[int, float]] = {}

    def update(self, positions: Iterable[GroupPosition]) -> dict[tuple[str, str], float]:
        """Record the positions. Returns the seconds of the worst partition by (topic, group).

        They are 0 where every position moves or no record is pending.
        """
        now = self._clock()
        worst: dict[tuple[str, str], float] = defaultdict(float)
        for current in positions:
            key = (current.group, current.partition)
            position, since = self._since.get(key, (-1, now))
            if current.lag == 0 or position != current.position:
                since = now
            self._since[key] = (current.position, since)
            worst[current.topic, current.group] = max(worst[current.topic, current.group], now - since)
        return worst


class LagExporter:
    """Exports the lag of every group; a worker calls `export` every `EXPORT_EVERY` seconds.

    The connection to Kafka is kept between calls.
    """

    def __init__(self, settings: RuntimeSettings, timer: StuckTimer | None = None) -> None:
        self._settings = settings
        self._timer = timer or StuckTimer()
        self._reader: GroupReader | None = None

    async def export(self) -> None:
        """Read the positions and set the metrics. A failure is logged, and the next call reconnects."""
        try:
            reader = await self._connected()
            async with asyncio.timeout(ANSWER_WITHIN):
                self.set_gauges(await reader.positions())
        except (DependencyDownError, TimeoutError) as error:
            log.warning("lag.unknown", error=str(error) or type(error).__name__)
            await self.close()

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader:
            await reader.stop()

    async def _connected(self) -> GroupReader:
        if self._reader is None:
            self._reader = GroupReader(self._settings)
            await self._reader.start()
        return self._reader

    def set_gauges(self, positions: Sequence[GroupPosition]) -> None:
        lags: dict[tuple[str, str], int] = defaultdict(int)
        for position in positions:
            lags[position.topic, position.group] += position.lag
        stuck = self._timer.update(positions)
        for (topic, group), lag in lags.items():
            CONSUMER_LAG.labels(topic, group).set(lag)
            CONSUMER_STUCK.labels(topic, group).set(stuck[topic, group])
