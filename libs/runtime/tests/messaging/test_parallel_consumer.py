"""Order, commits and rebalances of the parallel consumer, with a fake Kafka consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError

from savo_runtime.messaging.consuming.deliveries import ONLY_KIND, Delivery
from savo_runtime.messaging.consuming.parallel_consumer import ParallelConsumer

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


class RecordingConsumer:
    def __init__(self, *partitions: TopicPartition) -> None:
        self.partitions = set(partitions)
        self.commits: list[dict[TopicPartition, int]] = []
        self.paused_partitions: set[TopicPartition] = set()
        self.refuse = False

    def assignment(self) -> set[TopicPartition]:
        return self.partitions

    def paused(self) -> set[TopicPartition]:
        return set(self.paused_partitions)

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused_partitions |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self.paused_partitions -= set(partitions)

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.refuse:
            raise CommitFailedError
        self.commits.append(offsets)

    @property
    def committed(self) -> dict[TopicPartition, int]:
        return {partition: offset for commit in self.commits for partition, offset in commit.items()}


class ControlledWork:
    """Work that runs until the test ends it."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self._finished: dict[int, asyncio.Event] = {}

    def end(self, *offsets: int) -> None:
        for offset in offsets:
            self._finish_event(offset).set()

    async def __call__(self, delivery: Delivery) -> None:
        self.begun.append(delivery.record.offset)
        await self._finish_event(delivery.record.offset).wait()
        self.ended.append(delivery.record.offset)

    def _finish_event(self, offset: int) -> asyncio.Event:
        return self._finished.setdefault(offset, asyncio.Event())


def record(offset: int, key: str | None = None, partition: int = 0) -> ConsumerRecord:
    return ConsumerRecord("t", partition, offset, 0, 0, key.encode() if key else None, b"", None, 0, 0, ())


@asynccontextmanager
async def running(
    work: Any,
    consumer: RecordingConsumer,
    failures: list[Exception] | None = None,
    *,
    concurrency: int = 1,
    **options: Any,
) -> AsyncIterator[ParallelConsumer]:
    arguments = {"finish_within": 0.2, "slots": {ONLY_KIND: concurrency}, **options}
    parallel = ParallelConsumer(work, (failures if failures is not None else []).append, **arguments)
    parallel.attach(consumer)
    await parallel.on_partitions_assigned(consumer.partitions)
    try:
        yield parallel
    finally:
        await parallel.stop()


async def run_pending_tasks() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_offset_is_committed_only_when_all_records_before_it_are_done() -> None:
    work, consumer = ControlledWork(), RecordingConsumer(P0)
    async with running(work, consumer, concurrency=3) as parallel:
        for offset in (10, 11, 12):
            await parallel.accept(record(offset))
        work.end(11, 12)
        await run_pending_tasks()
        await parallel.commit()
        assert consumer.committed == {}
        work.end(10)
        await run_pending_tasks()
        await parallel.commit()
        assert consumer.committed == {P0: 13}


async def test_the_offset_is_committed_at_once_when_no_record_is_left() -> None:
    work, consumer = ControlledWork(), RecordingConsumer(P0)
    work.end(0)
    async with running(work, consumer) as parallel:
        await parallel.accept(record(0))
        await run_pending_tasks()
        assert consumer.commits == [{P0: 1}]


async def test_records_of_one_key_run_in_order_and_other_keys_run_in_parallel() -> None:
    work = ControlledWork()
    async with running(work, RecordingConsumer(P0), concurrency=4) as parallel:
        for offset, key in enumerate(["a", "a", "b", "a"]):
            await parallel.accept(record(offset, key))
        await run_pending_tasks()
        assert work.begun == [0, 2]
        work.end(0, 1, 2, 3)
        await run_pending_tasks()
        assert [offset for offset in work.ended if offset != 2] == [0, 1, 3]


async def test_with_one_slot_records_run_in_the_order_of_their_offsets() -> None:
    work = ControlledWork()
    work.end(*range(6))
    async with running(work, RecordingConsumer(P0)) as parallel:
        for offset, key in enumerate(["a", "b", "a", "c", "b", "a"]):
            await parallel.accept(record(offset, key))
        await run_pending_tasks()
        assert work.begun == [0, 1, 2, 3, 4, 5]


async def test_slots_limit_the_running_records_of_all_partitions() -> None:
    work = ControlledWork()
    async with running(work, RecordingConsumer(P0, P1), concurrency=2) as parallel:
        for offset in range(3):
            await parallel.accept(record(offset, partition=0))
            await parallel.accept(record(offset + 100, partition=1))
        await run_pending_tasks()
        assert len(work.begun) == 2


async def test_a_partition_with_a_full_window_is_paused_until_half_of_it_is_done() -> None:
    work, consumer = ControlledWork(), RecordingConsumer(P0, P1)
    async with running(work, consumer, max_uncommitted=4) as parallel:
        for offset in range(4):
            await parallel.accept(record(offset))
        assert consumer.paused_partitions == {P0}
        work.end(0)
        await run_pending_tasks()
        assert consumer.paused_partitions == {P0}
        work.end(1)
        await run_pending_tasks()
        assert consumer.paused_partitions == set()
        work.end(2, 3)


async def test_finished_records_count_in_the_window_until_they_are_committed() -> None:
    work, consumer = ControlledWork(), RecordingConsumer(P0)
    consumer.refuse = True
    async with running(work, consumer, max_uncommitted=4) as parallel:
        for offset in range(4):
            await parallel.accept(record(offset))
        work.end(0, 1, 2)
        await run_pending_tasks()
        assert consumer.paused_partitions == {P0}, "none of them is committed"
        consumer.refuse = False
        await parallel.commit()
        assert consumer.committed == {P0: 3}
        assert consumer.paused_partitions == set()
        work.end(3)


async def test_records_of_one_kind_do_not_wait_for_slots_of_another() -> None:
    work = ControlledWork()
    async with running(
        work,
        RecordingConsumer(P0),
        slots={"slow": 2, "quick": 1},
        kind_of=lambda polled: "quick" if polled.offset >= 10 else "slow",
    ) as parallel:
        for offset in (0, 1, 2, 10, 11):
            await parallel.accept(record(offset))
        await run_pending_tasks()
        assert work.begun == [0, 1, 10]
        work.end(10)
        await run_pending_tasks()
        assert work.begun == [0, 1, 10, 11]
        work.end(0, 1, 2, 11)


async def test_a_record_that_moves_to_another_kind_releases_its_slot() -> None:
    begun: list[int] = []
    release = asyncio.Event()

    async def work(delivery: Delivery) -> None:
        begun.append(delivery.record.offset)
        if delivery.record.offset == 1:
            async with delivery.interruptible():
                await delivery.acquire_slot("slow")
            begun.append(-1)
        await release.wait()

    async with running(
        work,
        RecordingConsumer(P0),
        slots={"slow": 1, "quick": 1},
        kind_of=lambda polled: "quick" if polled.offset else "slow",
    ) as parallel:
        for offset in (0, 1, 2):
            await parallel.accept(record(offset))
        await run_pending_tasks()
        assert begun == [0, 1, 2], "record 0 holds the slow slot, and record 1 waits for it"
        release.set()
        await run_pending_tasks()
        assert begun == [0, 1, 2, -1]


async def test_a_record_that_is_dropped_while_it_changes_its_kind_holds_no_slot() -> None:
    release, begun = asyncio.Event(), list[int]()

    async def work(delivery: Delivery) -> None:
        begun.append(delivery.record.offset)
        if delivery.record.offset == 1:
            async with delivery.interruptible():
                await delivery.acquire_slot("slow")
        await release.wait()

    consumer = RecordingConsumer(P0, P1)
    async with running(
        work, consumer, slots={"slow": 1, "quick": 1}, kind_of=lambda polled: "quick" if polled.offset else "slow"
    ) as parallel:
        await parallel.accept(record(0))
        await parallel.accept(record(1, partition=1))
        await run_pending_tasks()
        await parallel.on_partitions_revoked({P1})
        release.set()
        await run_pending_tasks()
        for offset in (2, 3):
            await parallel.accept(record(offset))
        await run_pending_tasks()
        assert begun == [0, 1, 2, 3]
        assert [slot._value for slot in parallel._slots.values()] == [1, 1]


async def test_a_pause_is_set_again_after_a_rebalance() -> None:
    consumer = RecordingConsumer(P0)
    async with running(ControlledWork(), consumer) as parallel:
        parallel.pause_all(True)
        consumer.partitions, consumer.paused_partitions = {P0, P1}, set()
        await parallel.on_partitions_assigned({P0, P1})
        assert consumer.paused_partitions == {P0, P1}
        parallel.pause_all(False)
        assert consumer.paused_partitions == set()


async def test_a_revoked_partition_is_finished_and_committed_and_its_waiting_records_are_dropped() -> None:
    work, consumer = ControlledWork(), RecordingConsumer(P0)
    async with running(work, consumer, finish_within=5) as parallel:
        for offset in range(3):
            await parallel.accept(record(offset))
        await run_pending_tasks()
        revoked = asyncio.create_task(parallel.on_partitions_revoked({P0}))
        await run_pending_tasks()
        assert not revoked.done(), "it waits for the running record"
        work.end(0)
        await revoked
        assert consumer.committed == {P0: 1}
        assert work.begun == [0]


async def test_a_record_delivered_again_waits_for_its_running_delivery() -> None:
    work, consumer = ControlledWork(), RecordingConsumer(P0)
    async with running(work, consumer, finish_within=0.01) as parallel:
        await parallel.accept(record(7))
        await run_pending_tasks()
        await parallel.on_partitions_revoked({P0})
        await parallel.on_partitions_assigned({P0})
        await parallel.accept(record(7))
        await run_pending_tasks()
        assert work.begun == [7]
        work.end(7)
        await run_pending_tasks()
        await parallel.commit()
        assert work.begun == [7]
        assert consumer.committed == {P0: 8}


async def test_a_finished_but_uncommitted_record_does_not_run_again() -> None:
    work, consumer = ControlledWork(), RecordingConsumer(P0)
    async with running(work, consumer, concurrency=2) as parallel:
        await parallel.accept(record(0))
        await parallel.accept(record(1))
        await run_pending_tasks()
        work.end(1)
        await run_pending_tasks()
        await parallel.on_partitions_revoked({P0})
        work.end(0)
        await parallel.on_partitions_assigned({P0})
        await parallel.accept(record(0))
        await parallel.accept(record(1))
        await run_pending_tasks()
        await parallel.commit()
        assert work.begun == [0, 1]
        assert consumer.committed == {P0: 2}


async def test_a_failed_record_and_those_after_it_are_never_committed() -> None:
    async def work(delivery: Delivery) -> None:
        if delivery.record.offset == 1:
            raise ValueError("broken")

    consumer, failures = RecordingConsumer(P0), list[Exception]()
    async with running(work, consumer, failures, concurrency=4) as parallel:
        for offset in range(4):
            await parallel.accept(record(offset, "same"))
        await run_pending_tasks()
        await parallel.commit()
    assert consumer.committed == {P0: 1}
    assert [str(failure) for failure in failures] == ["broken"]


async def test_an_interruptible_record_is_dropped_when_its_partition_is_revoked() -> None:
    dropped = asyncio.Event()

    async def work(delivery: Delivery) -> None:
        try:
            async with delivery.interruptible():
                await asyncio.sleep(3600)
        finally:
            dropped.set()

    consumer = RecordingConsumer(P0)
    async with running(work, consumer, finish_within=60) as parallel:
        await parallel.accept(record(0))
        await run_pending_tasks()
        await asyncio.wait_for(parallel.on_partitions_revoked({P0}), 30)
        assert dropped.is_set()
        assert consumer.committed == {}


async def test_a_refused_commit_is_repeated_later() -> None:
    work, consumer = ControlledWork(), RecordingConsumer(P0)
    work.end(0)
    async with running(work, consumer) as parallel:
        consumer.refuse = True
        await parallel.accept(record(0))
        await run_pending_tasks()
        assert consumer.commits == []
        consumer.refuse = False
        await parallel.commit()
        assert consumer.committed == {P0: 1}


async def test_stopping_finishes_running_records_and_commits_them() -> None:
    work, consumer = ControlledWork(), RecordingConsumer(P0)
    parallel = ParallelConsumer(work, list[Exception]().append, finish_within=5)
    parallel.attach(consumer)
    await parallel.accept(record(0))
    await parallel.accept(record(1))
    await run_pending_tasks()
    stopping = asyncio.create_task(parallel.stop())
    await run_pending_tasks()
    work.end(0)
    await stopping
    assert (work.ended, consumer.committed) == ([0], {P0: 1})
    await parallel.accept(record(2))
    assert work.begun == [0], "no record is accepted after the stop"
