"""Parallel consumer: processes records concurrently, in order of key, and commits contiguous offsets.

- Records of one key are processed one at a time, in order. With a single slot, so are the records of a partition.
- An offset is committed only when every record before it is done, every 0.2 s and whenever no record is left.
- Each kind of record has slots of its own, so slow kinds do not delay quick ones.
- A partition with `max_uncommitted` uncommitted records is paused until half of them are done and committed.
- When a partition is revoked, running records are finished and committed first. Waiting records are dropped, and the
  next member gets them.
- A record that is delivered again while its first delivery still runs, or is done but uncommitted, is not processed
  twice: it waits for the first delivery.

Measured against FastStream's `max_workers`, `batch=True` and faststream-concurrent-aiokafka: fewest repeats under
stop, kill and rebalance, at 64 records a second of 1 s each (see docs/decisions/0003-consuming.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Protocol

import structlog
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from savo_runtime.messaging.consuming.deliveries import ONLY_KIND, Delivery, PartitionRevokedError, PartitionWindow

__all__ = ["MAX_UNCOMMITTED", "Consumer", "ParallelConsumer"]

log = structlog.get_logger()

MAX_UNCOMMITTED = 256
COMMIT_EVERY = 0.2
COMMIT_WITHIN = 5.0
"""Seconds. aiokafka would retry for ever, which would keep a stopping service from ending."""
FINISH_WITHIN = 15.0
_ONE_SLOT: Mapping[str, int] = MappingProxyType({ONLY_KIND: 1})


class Consumer(Protocol):
    """The part of `AIOKafkaConsumer` that is used here."""

    def assignment(self) -> Iterable[TopicPartition]: ...
    def paused(self) -> Iterable[TopicPartition]: ...
    def pause(self, *partitions: TopicPartition) -> None: ...
    def resume(self, *partitions: TopicPartition) -> None: ...
    async def commit(self, offsets: dict[TopicPartition, int]) -> None: ...


class ParallelConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Runs `work` for each record given to `accept`.

    An exception from `work` must stop the service: it is passed to `on_failure`.
    """

    def __init__(
        self,
        work: Callable[[Delivery], Awaitable[None]],
        on_failure: Callable[[Exception], None],
        *,
        slots: Mapping[str, int] = _ONE_SLOT,
        kind_of: Callable[[ConsumerRecord], str] = lambda _: ONLY_KIND,
        max_uncommitted: int = MAX_UNCOMMITTED,
        finish_within: float = FINISH_WITHIN,
        on_assigned: Callable[[], None] = lambda: None,
    ) -> None:
        self.assignments = 0
        """Number of partition assignments so far. What was known of a partition is stale after a new one."""
        self._work = work
        self._on_failure = on_failure
        self._on_assigned = on_assigned
        self._kind_of = kind_of
        self._slots = {kind: asyncio.Semaphore(count) for kind, count in slots.items()}
        self._one_at_a_time = sum(slots.values()) == 1
        self._max_uncommitted, self._half = max_uncommitted, max_uncommitted // 2
        self._finish_within = finish_within
        self._windows: dict[TopicPartition, PartitionWindow] = {}
        self._unfinished: dict[tuple[TopicPartition, int], Delivery] = {}
        self._consumer: Consumer | None = None
        self._committing = asyncio.Lock()
        self._commit_now = asyncio.Event()
        self._committer: asyncio.Task[None] | None = None
        self._paused = False
        self._stopping = False

    # ── records ─────────────────────────────────────────────────────────────

    def attach(self, consumer: Consumer) -> None:
        """Commit and pause on this consumer from now on."""
        self._consumer = consumer
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_periodically())

    async def accept(self, record: ConsumerRecord) -> None:
        """Schedule the record. Does not wait for its turn: polling continues, and the window bounds the backlog."""
        if self._stopping:
            return
        window = self._window(TopicPartition(record.topic, record.partition))
        delivery = Delivery(record, window)
        previous = window.add(delivery)
        earlier = self._unfinished.pop((window.partition, record.offset), None)
        delivery.task = asyncio.create_task(self._run(delivery, None if self._one_at_a_time else previous, earlier))
        if window.uncommitted >= self._half:
            await asyncio.sleep(0)  # lets quick records finish and commit before the window is full
        if not window.full and window.uncommitted >= self._max_uncommitted:
            window.full = True
            self._set_pauses()

    def pause_all(self, paused: bool) -> None:
        """Pause all partitions; with False, resume those whose window is not full."""
        self._paused = paused
        self._set_pauses()

    def positions(self) -> dict[TopicPartition, int | None]:
        """Next offset of each assigned partition; None where no record is done yet."""
        return {partition: window.next_offset for partition, window in self._windows.items()}

    async def _run(self, delivery: Delivery, previous: Delivery | None, earlier: Delivery | None) -> None:
        """`previous`: the record before it with the same key. `earlier`: an unfinished delivery of the same record."""
        try:
            await self._run_in_turn(delivery, previous, earlier)
        except (asyncio.CancelledError, PartitionRevokedError):
            log.debug(
                "record.dropped",
                topic=delivery.record.topic,
                partition=delivery.record.partition,
                offset=delivery.record.offset,
            )
        except Exception as error:  # noqa: BLE001 - after any error the record is not done
            self._on_failure(error)
        finally:
            delivery.ended.set()
            self._after(delivery.window)

    async def _run_in_turn(self, delivery: Delivery, previous: Delivery | None, earlier: Delivery | None) -> None:
        if earlier is not None:
            await earlier.ended.wait()
        if earlier is None or not earlier.done:
            if previous is not None:
                await previous.ended.wait()
                if not previous.done:
                    raise PartitionRevokedError
            try:
                await delivery.acquire_slot(self._kind_of(delivery.record))
                delivery.can_be_dropped = False
                await self._work(delivery)
            finally:
                delivery.release_slot()
        delivery.done = True
        delivery.window.advance()

    def _after(self, window: PartitionWindow) -> None:
        may_reopen = window.full and len(window.deliveries) <= self._half
        is_idle = not any(other.deliveries for other in self._windows.values())
        if may_reopen or window.awaits_commit >= self._half or is_idle:
            self._commit_now.set()

    def _reopen(self) -> None:
        reopened = [window for window in self._windows.values() if window.full and window.uncommitted <= self._half]
        for window in reopened:
            window.full = False
        if reopened:
            self._set_pauses()

    def _window(self, partition: TopicPartition) -> PartitionWindow:
        if partition not in self._windows:
            self._windows[partition] = PartitionWindow(partition, self._slots)
        return self._windows[partition]

    def _set_pauses(self) -> None:
        if self._consumer is None or self._stopping:
            return
        assigned, paused = set(self._consumer.assignment()), set(self._consumer.paused())
        wanted = {
            partition
            for partition in assigned
            if self._paused or (partition in self._windows and self._windows[partition].full)
        }
        if wanted - paused:
            self._consumer.pause(*(wanted - paused))
        if release := (paused & assigned) - wanted:
            self._consumer.resume(*release)

    # ── rebalances ────────────────────────────────────────────────

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Set the pauses again, since a new assignment clears them."""
        self.assignments += 1
        kept = {self._window(partition).partition for partition in assigned}
        self._unfinished = {
            identity: delivery for identity, delivery in self._unfinished.items() if identity[0] in kept
        }
        self._set_pauses()
        self._on_assigned()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish running records, then commit.

        A record that exceeds the deadline keeps running, uncommitted: a repeated delivery here waits for it.
        """
        windows = [self._windows[partition] for partition in revoked if partition in self._windows]
        await self._close(windows)
        for window in windows:
            self._windows.pop(window.partition, None)
            self._unfinished |= {
                (window.partition, offset): delivery
                for offset, delivery in window.deliveries.items()
                if delivery.done or not delivery.ended.is_set()
            }

    async def stop(self) -> None:
        """Accept no more records, finish the running ones, commit."""
        self._stopping = True
        await self._close(list(self._windows.values()))
        if self._committer:
            self._committer.cancel()
            await asyncio.wait([self._committer])
        for window in self._windows.values():
            for delivery in window.deliveries.values():
                if delivery.task and not delivery.ended.is_set():
                    delivery.task.cancel()

    async def _close(self, windows: list[PartitionWindow]) -> None:
        for window in windows:
            window.closed = True
            for delivery in list(window.deliveries.values()):
                delivery.drop_if_waiting()
        running = [
            delivery.task
            for window in windows
            for delivery in window.deliveries.values()
            if delivery.task and not delivery.ended.is_set()
        ]
        if running:
            await asyncio.wait(running, timeout=self._finish_within)
        await self.commit()

    # ── commits ─────────────────────────────────────────────────────────────

    async def commit(self) -> None:
        """Commit the next offset of every window. A failed commit is logged and repeated with the next one."""
        async with self._committing:
            due = {
                window: (offset, window.awaits_commit)
                for window in self._windows.values()
                if (offset := window.to_commit) is not None
            }
            if not due or self._consumer is None:
                return
            try:
                async with asyncio.timeout(COMMIT_WITHIN):
                    await self._consumer.commit({window.partition: offset for window, (offset, _) in due.items()})
            except (KafkaError, IllegalStateError, TimeoutError) as error:
                log.warning(
                    "offsets.not_committed",
                    topic=next(iter(due)).partition.topic,
                    error=str(error),
                    error_type=type(error).__name__,
                )
                return
            for window, (offset, records) in due.items():
                window.note_committed(offset, records)
            self._reopen()

    async def _commit_periodically(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(COMMIT_EVERY):
                    await self._commit_now.wait()
            self._commit_now.clear()
            await self.commit()
