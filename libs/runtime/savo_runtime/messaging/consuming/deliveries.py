"""A record on its way through a consumer, and the window of those of one partition that are not committed yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka import ConsumerRecord, TopicPartition

__all__ = ["ONLY_KIND", "Delivery", "PartitionRevokedError", "PartitionWindow"]

ONLY_KIND = "any"


class PartitionRevokedError(Exception):
    """The partition belongs to another member now, which works on this record; here it is dropped, uncommitted."""


class Delivery:
    """One record on its way: from the poll until it is done, dropped or failed."""

    def __init__(self, record: ConsumerRecord, window: PartitionWindow) -> None:
        self.record = record
        self.window = window
        self.done = False
        """Its offset may be committed."""
        self.ended = asyncio.Event()
        """Set when it is done, dropped or failed."""
        self.can_be_dropped = True
        """It waits and is not at work: when its partition is revoked, nothing is lost."""
        self.task: asyncio.Task[None] | None = None
        self.kind = ONLY_KIND
        self._slot: asyncio.Semaphore | None = None

    async def acquire_slot(self, kind: str) -> None:
        """Wait for a free slot of that kind. The slot that it holds is released first."""
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
        """Around any wait within the work: a rebalance does not wait for it. Raises `PartitionRevokedError` when the partition is gone."""
        if self.window.closed:
            raise PartitionRevokedError
        self.can_be_dropped = True
        try:
            yield
        finally:
            self.can_be_dropped = False
        if self.window.closed:
            raise PartitionRevokedError

    def drop_if_waiting(self) -> None:
        if self.can_be_dropped and self.task and not self.ended.is_set():
            self.task.cancel()


class PartitionWindow:
    """One partition's records that are not committed yet, in order."""

    def __init__(self, partition: TopicPartition, slots: Mapping[str, asyncio.Semaphore]) -> None:
        self.partition = partition
        self.slots = slots
        """By kind of record; all windows of a consumer share them."""
        self.closed = False
        """The partition was revoked, or the consumer stops."""
        self.full = False
        """Paused, because too much is uncommitted."""
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
        """Let go of the records that are done, as far as all before them are too."""
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
