"""Whether this process's own consumers make progress: the rule for readiness. Lag is exported by `kafka/lag.py`.

Red when records wait and no position has moved for 30 s, when Kafka has not answered for 10 s, or at the dead-letter cap.
Green when idle. A consumer can be stuck while all its client calls succeed (aio-libs/aiokafka#1154), so progress is what counts.
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

__all__ = ["Progress", "UnhealthyError"]

log = structlog.get_logger()

SAMPLE_EVERY = 2.0
STUCK_AFTER = 30.0
SILENT_AFTER = 10.0
ANSWER_WITHIN = 5.0


class UnhealthyError(Exception):
    """Not ready; the message says why."""


@dataclass
class _Observation:
    """What was last seen of one consumer."""

    lag: int = 0
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    moved_at: float = 0.0
    seen_at: float = 0.0
    assignment: int = 0
    starts: dict[TopicPartition, int] = field(default_factory=dict)
    """Where untouched partitions of that assignment begin: no other member commits there while it lasts."""


class Progress:
    """Looks at each consumer every two seconds. `clock` is monotonic, in seconds."""

    def __init__(
        self, topic_consumers: Sequence[TopicConsumer], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._topic_consumers = topic_consumers
        self._clock = clock
        self._observations = {
            topic_consumer.group: _Observation(moved_at=clock(), seen_at=clock()) for topic_consumer in topic_consumers
        }

    async def run(self) -> None:
        """Returns only when cancelled."""
        await repeat(self._look_at_all, SAMPLE_EVERY)

    async def _look_at_all(self) -> None:
        await asyncio.gather(*(self._look_within_limit(topic_consumer) for topic_consumer in self._topic_consumers))

    def check(self) -> None:
        """Raises `UnhealthyError`."""
        for topic_consumer in self._topic_consumers:
            if problem := self._problem(topic_consumer, self._observations[topic_consumer.group]):
                raise UnhealthyError(problem)

    def note(self, group: str, positions: dict[TopicPartition, int], lag: int) -> None:
        """Take in the positions of a group's consumer now, and how many records wait for it."""
        seen, now = self._observations[group], self._clock()
        if lag == 0 or positions != seen.positions:
            seen.moved_at = now
        seen.positions, seen.lag, seen.seen_at = positions, lag, now

    def _problem(self, topic_consumer: TopicConsumer, seen: _Observation) -> str | None:
        now = self._clock()
        if topic_consumer.policy.cap.reason:
            return topic_consumer.policy.cap.reason
        if now - seen.seen_at > SILENT_AFTER:
            return f"Kafka has not answered the consumer of {topic_consumer.topic.name} for {now - seen.seen_at:.0f} s"
        if seen.lag and now - seen.moved_at > STUCK_AFTER:
            why = f": {topic_consumer.policy.paused_for}" if topic_consumer.policy.paused_for else ""
            return f"{seen.lag} records wait on {topic_consumer.topic.name} and none was done for {now - seen.moved_at:.0f} s{why}"
        return None

    async def _look_within_limit(self, topic_consumer: TopicConsumer) -> None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await self.look(topic_consumer)
        except (TimeoutError, KafkaError, IllegalStateError) as fault:  # a rebalance in between, or Kafka is away
            log.debug("lag.unknown", topic=topic_consumer.topic.name, reason=str(fault) or type(fault).__name__)

    async def look(self, topic_consumer: TopicConsumer) -> None:
        """Raises `KafkaError`, and `IllegalStateError` in a rebalance."""
        consumer = topic_consumer.consumer
        if consumer is None:
            return
        assigned = set(consumer.assignment())
        # Without partitions of its own, the group's lag still tells a spare member from one that cannot join.
        partitions = assigned or {
            TopicPartition(topic_consumer.topic_name, number)
            for number in consumer.partitions_for_topic(topic_consumer.topic_name) or ()
        }
        ends = await consumer.end_offsets(list(partitions))
        seen = self._observations[topic_consumer.group]
        if not assigned or seen.assignment != topic_consumer.parallel.assignments:
            seen.assignment, seen.starts = topic_consumer.parallel.assignments, {}
        positions = await _positions(consumer, partitions, topic_consumer.parallel.positions(), seen.starts)
        lag = sum(max(0, ends[partition] - position) for partition, position in positions.items())
        self.note(topic_consumer.group, positions, lag)


async def _positions(
    consumer: AIOKafkaConsumer,
    partitions: Iterable[TopicPartition],
    done: dict[TopicPartition, int | None],
    starts: dict[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """The next offset to work on: as done here, else where the member started.

    Where it started is asked of Kafka once for each partition, and noted in `starts`.
    """
    positions = {partition: offset for partition in partitions if (offset := done.get(partition)) is not None}
    untouched = [partition for partition in partitions if partition not in positions]
    starts |= await _starts(consumer, [partition for partition in untouched if partition not in starts])
    return positions | {partition: starts[partition] for partition in untouched}


async def _starts(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """As committed, else the partition's beginning."""
    committed = dict(
        zip(partitions, await asyncio.gather(*(consumer.committed(partition) for partition in partitions)), strict=True)
    )
    unread = [partition for partition, offset in committed.items() if offset is None]
    beginnings = await consumer.beginning_offsets(unread) if unread else {}
    return {partition: beginnings[partition] if offset is None else offset for partition, offset in committed.items()}
