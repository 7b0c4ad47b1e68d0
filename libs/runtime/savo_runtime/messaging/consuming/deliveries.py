"""Deliveries: records between poll and commit, and the window of uncommitted deliveries of one partition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka import ConsumerRecord, TopicPartition

__all__ = ["ONLY_KIND", "Delivery", "PartitionRevokedError", "PartitionWindow"]

ONLY_KIND = "any"


class PartitionRevokedError(Exception):
    """The partition was assigned to another member, which processes this record; here it is dropped, uncommitted."""


class Delivery:
    """The state of one record from the poll until it is done, dropped or failed."""

    def __init__(self, record: ConsumerRecord, window: PartitionWindow) -> None:
        self.record = record
        self.window = window
        self.done = False
        """Its offset may be committed."""
        self.ended = asyncio.Event()
        """Set when it is done, dropped or failed."""
        self.can_be_dropped = True
        """Its handler is not running, so the delivery is cancelled when its partition is revoked."""
        self.task: asyncio.Task[None] | None = None
        self.kind = ONLY_KIND
        self._slot: asyncio.Semaphore | None = None

    async def acquire_slot(self, kind: str) -> None:
        """Wait for a free slot of that kind. A slot held before is released first."""
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
        """Wraps a wait inside the processing: a rebalance cancels it instead of waiting for it.

        Raises `PartitionRevokedError` when the partition was revoked.
        """
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
    """The uncommitted deliveries of one partition, in offset order."""

    def __init__(self, partition: TopicPartition, slots: Mapping[str, asyncio.Semaphore]) -> None:
        self.partition = partition
        self.slots = slots
        """Free slots by kind of record, shared by all windows of a consumer."""
        self.closed = False
        """The partition was revoked, or the consumer stops."""
        self.full = False
        """The partition is paused because it has too many uncommitted records."""
        self.next_offset: int | None = None
        """Offset to commit: every record before it is done. None until the first record is done."""
        self.committed: int | None = None
        self.awaits_commit = 0
        """Number of records before `next_offset` that are not committed."""
        self.deliveries: dict[int, Delivery] = {}
        self._last_of_key: dict[bytes, Delivery] = {}

    def add(self, delivery: Delivery) -> Delivery | None:
        """Add a delivery; returns the unfinished delivery before it with the same key, or None."""
        key = delivery.record.key
        self.deliveries[delivery.record.offset] = delivery
        if key is None:
            return None
        previous = self._last_of_key.get(key)
        self._last_of_key[key] = delivery
        return previous

    def advance(self) -> None:
        """Move `next_offset` past the records that are done, up to the first unfinished one."""
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
