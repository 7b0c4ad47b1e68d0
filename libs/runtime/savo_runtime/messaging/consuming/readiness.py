"""Readiness check of this process's own consumers, by their progress. `kafka/lag.py` exports the lag of groups.

Not ready when records are pending and no position has moved for 30 s, when Kafka has not answered for 10 s, or when the
dead-letter cap is reached. Ready when idle. A consumer can be stuck while all its client calls succeed
(aio-libs/aiokafka#1154), so the check looks at positions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from savo_runtime.messaging.consuming.topic_consumer import TopicConsumer
from savo_runtime.timing.recurring import repeat

__all__ = ["ConsumerReadiness", "UnhealthyError"]

log = structlog.get_logger()

SAMPLE_EVERY = 2.0
STUCK_AFTER = 30.0
SILENT_AFTER = 10.0
ANSWER_WITHIN = 5.0


class UnhealthyError(Exception):
    """The consumers are not ready; the message is the reason."""


@dataclass
class _Observation:
    """The last sample of one consumer."""

    lag: int = 0
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    moved_at: float = 0.0
    sampled_at: float = 0.0
    assignment: int = 0
    starts: dict[TopicPartition, int] = field(default_factory=dict)
    """Start offsets of partitions without a finished record. They are fixed during an assignment, since no other member
    commits there."""


class ConsumerReadiness:
    """Samples each consumer every two seconds. `clock` is monotonic, in seconds."""

    def __init__(
        self, topic_consumers: Sequence[TopicConsumer], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._topic_consumers = topic_consumers
        self._clock = clock
        self._observations = {
            topic_consumer.group: _Observation(moved_at=clock(), sampled_at=clock())
            for topic_consumer in topic_consumers
        }

    async def run(self) -> None:
        """Returns only when cancelled."""
        await repeat(self._sample_all, SAMPLE_EVERY)

    async def _sample_all(self) -> None:
        await asyncio.gather(*(self._sample_within_limit(topic_consumer) for topic_consumer in self._topic_consumers))

    def check(self) -> None:
        """Raises `UnhealthyError` with the reason of the first consumer that is not ready."""
        for topic_consumer in self._topic_consumers:
            if problem := self._problem(topic_consumer, self._observations[topic_consumer.group]):
                raise UnhealthyError(problem)

    def update(self, group: str, positions: dict[TopicPartition, int], lag: int) -> None:
        """Record the current positions of a group's consumer and its lag (number of pending records)."""
        last, now = self._observations[group], self._clock()
        if lag == 0 or positions != last.positions:
            last.moved_at = now
        last.positions, last.lag, last.sampled_at = positions, lag, now

    def _problem(self, topic_consumer: TopicConsumer, last: _Observation) -> str | None:
        topic, policy = topic_consumer.topic.name, topic_consumer.policy
        if policy.cap.reason:
            return policy.cap.reason
        silent, stuck = self._clock() - last.sampled_at, self._clock() - last.moved_at
        if silent > SILENT_AFTER:
            return f"Kafka has not answered the consumer of {topic} for {silent:.0f} s"
        if last.lag and stuck > STUCK_AFTER:
            cause = f": {policy.paused_for}" if policy.paused_for else ""
            return f"{last.lag} records wait on {topic} and none was done for {stuck:.0f} s{cause}"
        return None

    async def _sample_within_limit(self, topic_consumer: TopicConsumer) -> None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await self.sample(topic_consumer)
        except (TimeoutError, KafkaError, IllegalStateError) as error:  # a rebalance, or Kafka is down
            log.debug("lag.unknown", topic=topic_consumer.topic.name, error=str(error) or type(error).__name__)

    async def sample(self, topic_consumer: TopicConsumer) -> None:
        """Ask Kafka for the consumer's positions. Raises `KafkaError`, and `IllegalStateError` during a rebalance."""
        consumer = topic_consumer.consumer
        if consumer is None:
            return
        assigned = set(consumer.assignment())
        # A member without partitions is either spare or unable to join: the lag of the whole group tells which.
        partitions = assigned or {
            TopicPartition(topic_consumer.topic_name, number)
            for number in consumer.partitions_for_topic(topic_consumer.topic_name) or ()
        }
        ends = await consumer.end_offsets(list(partitions))
        last = self._observations[topic_consumer.group]
        if not assigned or last.assignment != topic_consumer.parallel.assignments:
            last.assignment, last.starts = topic_consumer.parallel.assignments, {}
        positions = await _positions(consumer, partitions, topic_consumer.parallel.positions(), last.starts)
        lag = sum(max(0, ends[partition] - position) for partition, position in positions.items())
        self.update(topic_consumer.group, positions, lag)


async def _positions(
    consumer: AIOKafkaConsumer,
    partitions: Iterable[TopicPartition],
    done: dict[TopicPartition, int | None],
    starts: dict[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """Next offset of each partition: from the finished records, else the offset where the member started.

    Start offsets are requested from Kafka once for each partition and cached in `starts`.
    """
    positions = {partition: offset for partition in partitions if (offset := done.get(partition)) is not None}
    untouched = [partition for partition in partitions if partition not in positions]
    starts |= await _starts(consumer, [partition for partition in untouched if partition not in starts])
    return positions | {partition: starts[partition] for partition in untouched}


async def _starts(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Committed offset of each partition, else its beginning."""
    committed = dict(
        zip(partitions, await asyncio.gather(*(consumer.committed(partition) for partition in partitions)), strict=True)
    )
    unread = [partition for partition, offset in committed.items() if offset is None]
    beginnings = await consumer.beginning_offsets(unread) if unread else {}
    return {partition: beginnings[partition] if offset is None else offset for partition, offset in committed.items()}
