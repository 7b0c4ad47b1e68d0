"""Records of one consumer in work: a window for each partition, and over all of them so many at a time of each kind.

- of one key always one at a time, in order; with a single slot a partition is worked on in order
- an offset is committed only when every record before it is done ("contiguous"), every 0.2 s and when nothing is left to do
- records of one kind wait for slots of their own only: slow ones do not stand in the way of quick ones
- a partition with `max_uncommitted` uncommitted records is paused until half of them are done and committed
- partitions that are taken away: what is at work is finished and committed first, what waits is dropped and comes again elsewhere
- a record that comes again while it is still at work, or done but not committed, is not worked on twice: it waits for that run

Measured against FastStream's `max_workers`, `batch=True` and faststream-concurrent-aiokafka: fewest repeats under
stop, kill and rebalance, at 64 records a second of 1 s each (see docs/decisions/0003-consuming.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Protocol

import structlog
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream.exceptions import IgnoredException

__all__ = ["ONLY_KIND", "Consumer", "Delivery", "ParallelConsumer", "PartitionTakenError", "PartitionWindow"]

log = structlog.get_logger()

MAX_UNCOMMITTED = 256
COMMIT_EVERY = 0.2
COMMIT_WITHIN = 5.0
"""aiokafka would try for ever, and a service that stops must end."""
FINISH_WITHIN = 15.0
ONLY_KIND = "any"
_ONE_SLOT: Mapping[str, int] = MappingProxyType({ONLY_KIND: 1})


class PartitionTakenError(IgnoredException):
    """Whoever has the partition now works on this record; here it is dropped, uncommitted."""


class Consumer(Protocol):
    """What is used of aiokafka's consumer."""

    def assignment(self) -> Iterable[TopicPartition]: ...
    def paused(self) -> Iterable[TopicPartition]: ...
    def pause(self, *partitions: TopicPartition) -> None: ...
    def resume(self, *partitions: TopicPartition) -> None: ...
    async def commit(self, offsets: dict[TopicPartition, int]) -> None: ...


class Delivery:
    """One record on its way through a window."""

    def __init__(self, record: ConsumerRecord, window: PartitionWindow) -> None:
        self.record = record
        self.window = window
        self.done = False
        self.ended = asyncio.Event()
        """Done, dropped or failed."""
        self.can_be_dropped = True
        """Waiting, not at work: may be dropped at any time."""
        self.task: asyncio.Task[None] | None = None
        self.kind = ONLY_KIND
        self._slot: asyncio.Semaphore | None = None

    async def acquire_slot(self, kind: str) -> None:
        """Among those of the kind, when one is free; the slot that it has is given up first."""
        self.release_slot()
        slot = self.window.slots[kind]
        await slot.acquire()
        self.kind, self._slot = kind, slot

    def release_slot(self) -> None:
        if self._slot:
            self._slot.release()
            self._slot = None

    @asynccontextmanager
    async def interruptible(self) -> AsyncIterator[None]:
        """Around any wait within the work: the partition is not held up by it. Raises `PartitionTakenError`."""
        if self.window.closed:
            raise PartitionTakenError
        self.can_be_dropped = True
        try:
            yield
        finally:
            self.can_be_dropped = False
        if self.window.closed:
            raise PartitionTakenError

    def drop_if_waiting(self) -> None:
        if self.can_be_dropped and self.task and not self.ended.is_set():
            self.task.cancel()


class PartitionWindow:
    """One partition's records that are not committed yet, in order."""

    def __init__(self, partition: TopicPartition, slots: Mapping[str, asyncio.Semaphore]) -> None:
        self.partition = partition
        self.slots = slots
        """By kind; all windows share them."""
        self.closed = False
        self.full = False
        self.next_offset: int | None = None
        """Everything before it is done; None until the first record is."""
        self.committed: int | None = None
        self.awaits_commit = 0
        """Records that are done, as are all before them, but not committed."""
        self.deliveries: dict[int, Delivery] = {}
        self._last_of_key: dict[bytes, Delivery] = {}

    def add(self, delivery: Delivery) -> Delivery | None:
        """The record before it with the same key, if that is not done yet."""
        key = delivery.record.key
        self.deliveries[delivery.record.offset] = delivery
        if key is None:
            return None
        before = self._last_of_key.get(key)
        self._last_of_key[key] = delivery
        return before

    def advance(self) -> None:
        for offset in list(self.deliveries):
            delivery = self.deliveries[offset]
            if not delivery.done:
                break
            del self.deliveries[offset]
            self.awaits_commit += 1
            self.next_offset = offset + 1
            if delivery.record.key is not None and self._last_of_key.get(delivery.record.key) is delivery:
                del self._last_of_key[delivery.record.key]

    @property
    def uncommitted(self) -> int:
        return len(self.deliveries) + self.awaits_commit

    @property
    def to_commit(self) -> int | None:
        return None if self.next_offset == self.committed else self.next_offset

    def note_committed(self, offset: int, records: int) -> None:
        self.committed = offset
        self.awaits_commit -= records


class ParallelConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """All windows of one consumer. `work` raises nothing but what must end the service; `on_failure` is told of that."""

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
        self.moves = 0
        """Counts records that are done: it stands still when nothing moves."""
        self.assignments = 0
        """Counts them: what was true of a partition before the last one may not be now."""
        self._work = work
        self._on_failure = on_failure
        self._on_assigned = on_assigned
        self._kind_of = kind_of
        self._slots = {kind: asyncio.Semaphore(count) for kind, count in slots.items()}
        self._one_at_a_time = sum(slots.values()) == 1
        self._max_uncommitted, self._half = max_uncommitted, max_uncommitted // 2
        self._finish_within = finish_within
        self._windows: dict[TopicPartition, PartitionWindow] = {}
        self._left_behind: dict[tuple[TopicPartition, int], Delivery] = {}
        self._consumer: Consumer | None = None
        self._committing = asyncio.Lock()
        self._commit_now = asyncio.Event()
        self._committer: asyncio.Task[None] | None = None
        self._held = False
        self._stopping = False

    # ── taking ──────────────────────────────────────────────────────────────

    def use(self, consumer: Consumer) -> None:
        """Commit and pause on this consumer, from now on."""
        self._consumer = consumer
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_again_and_again())

    async def take(self, record: ConsumerRecord) -> None:
        """Never waits for anything: the window bounds what is held, so that the consumer keeps polling and its session lives."""
        if self._stopping:
            return
        window = self._window(TopicPartition(record.topic, record.partition))
        delivery = Delivery(record, window)
        before = window.add(delivery)
        again = self._left_behind.pop((window.partition, record.offset), None)
        delivery.task = asyncio.create_task(self._carry(delivery, None if self._one_at_a_time else before, again))
        if window.uncommitted >= self._half:
            await asyncio.sleep(0)  # what is quick gets done, and committed, before the window is full
        if not window.full and window.uncommitted >= self._max_uncommitted:
            window.full = True
            self._set_pauses()

    def hold(self, held: bool) -> None:
        """Pause all partitions, or let them go."""
        self._held = held
        self._set_pauses()

    def positions(self) -> dict[TopicPartition, int | None]:
        """The next offset to work on, of each partition that this member has; None where no record was worked on yet."""
        return {partition: window.next_offset for partition, window in self._windows.items()}

    async def _carry(self, delivery: Delivery, before: Delivery | None, again: Delivery | None) -> None:
        try:
            await self._settle(delivery, before, again)
        except (asyncio.CancelledError, PartitionTakenError):
            log.debug("record.dropped", topic=delivery.record.topic, partition=delivery.record.partition, offset=delivery.record.offset)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the record is not done
            self._on_failure(fault)
        finally:
            delivery.ended.set()
            self._after(delivery.window)

    async def _settle(self, delivery: Delivery, before: Delivery | None, again: Delivery | None) -> None:
        if again is not None:
            await again.ended.wait()
        if again is None or not again.done:
            if before is not None:
                await before.ended.wait()
                if not before.done:
                    raise PartitionTakenError
            try:
                await delivery.acquire_slot(self._kind_of(delivery.record))
                delivery.can_be_dropped = False
                await self._work(delivery)
            finally:
                delivery.release_slot()
        delivery.done = True
        self.moves += 1
        delivery.window.advance()

    def _after(self, window: PartitionWindow) -> None:
        may_reopen = window.full and len(window.deliveries) <= self._half
        if may_reopen or window.awaits_commit >= self._half or not any(each.deliveries for each in self._windows.values()):
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
        wanted = {partition for partition in assigned if self._held or (partition in self._windows and self._windows[partition].full)}
        if wanted - paused:
            self._consumer.pause(*(wanted - paused))
        if release := (paused & assigned) - wanted:
            self._consumer.resume(*release)

    # ── giving up partitions ────────────────────────────────────────────────

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Pauses do not outlive an assignment, so they are set again."""
        self.assignments += 1
        kept = {self._window(partition).partition for partition in assigned}
        self._left_behind = {identity: delivery for identity, delivery in self._left_behind.items() if identity[0] in kept}
        self._set_pauses()
        self._on_assigned()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish, then commit. What takes longer than the deadline runs on, uncommitted: a repeat here waits for it."""
        windows = [self._windows[partition] for partition in revoked if partition in self._windows]
        await self._close(windows)
        for window in windows:
            self._windows.pop(window.partition, None)
            self._left_behind |= {(window.partition, offset): each for offset, each in window.deliveries.items() if each.done or not each.ended.is_set()}

    async def stop(self) -> None:
        """Take nothing more, finish what is at work, commit."""
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
        at_work = [each.task for window in windows for each in window.deliveries.values() if each.task and not each.ended.is_set()]
        if at_work:
            await asyncio.wait(at_work, timeout=self._finish_within)
        await self.commit()

    # ── committing ──────────────────────────────────────────────────────────

    async def commit(self) -> None:
        """A commit that fails is tried again with the next; one for a partition that is gone never matters."""
        async with self._committing:
            due = {window: (offset, window.awaits_commit) for window in self._windows.values() if (offset := window.to_commit) is not None}
            if not due or self._consumer is None:
                return
            try:
                async with asyncio.timeout(COMMIT_WITHIN):
                    await self._consumer.commit({window.partition: offset for window, (offset, _) in due.items()})
            except (KafkaError, IllegalStateError, TimeoutError) as fault:
                log.warning("offsets.not_committed", error=str(fault), kind=type(fault).__name__)
                return
            for window, (offset, records) in due.items():
                window.note_committed(offset, records)
            self._reopen()

    async def _commit_again_and_again(self) -> None:
        while True:
            try:
                async with asyncio.timeout(COMMIT_EVERY):
                    await self._commit_now.wait()
            except TimeoutError:
                pass
            self._commit_now.clear()
            await self.commit()
