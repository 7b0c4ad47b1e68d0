"""Order, commits and rebalances of the parallel, with a consumer that only writes down what it is told."""

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


class NotedConsumer:
    def __init__(self, *partitions: TopicPartition) -> None:
        self.partitions = set(partitions)
        self.commits: list[dict[TopicPartition, int]] = []
        self.held: set[TopicPartition] = set()
        self.refuse = False

    def assignment(self) -> set[TopicPartition]:
        return self.partitions

    def paused(self) -> set[TopicPartition]:
        return set(self.held)

    def pause(self, *partitions: TopicPartition) -> None:
        self.held |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self.held -= set(partitions)

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.refuse:
            raise CommitFailedError
        self.commits.append(offsets)

    @property
    def committed(self) -> dict[TopicPartition, int]:
        return {partition: offset for commit in self.commits for partition, offset in commit.items()}


class Works:
    """Work that ends when the test says so."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self._gates: dict[int, asyncio.Event] = {}

    def end(self, *offsets: int) -> None:
        for offset in offsets:
            self._gate(offset).set()

    async def __call__(self, delivery: Delivery) -> None:
        self.begun.append(delivery.record.offset)
        await self._gate(delivery.record.offset).wait()
        self.ended.append(delivery.record.offset)

    def _gate(self, offset: int) -> asyncio.Event:
        return self._gates.setdefault(offset, asyncio.Event())


def record(offset: int, key: str | None = None, partition: int = 0) -> ConsumerRecord:
    return ConsumerRecord("t", partition, offset, 0, 0, key.encode() if key else None, b"", None, 0, 0, ())


@asynccontextmanager
async def running(
    work: Any, consumer: NotedConsumer, failures: list[Exception] | None = None, *, concurrency: int = 1, **options: Any
) -> AsyncIterator[ParallelConsumer]:
    given = {"finish_within": 0.2, "slots": {ONLY_KIND: concurrency}, **options}
    parallel = ParallelConsumer(work, (failures if failures is not None else []).append, **given)
    parallel.use(consumer)
    await parallel.on_partitions_assigned(consumer.partitions)
    try:
        yield parallel
    finally:
        await parallel.stop()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_offset_is_committed_only_when_all_before_it_are_done() -> None:
    works, consumer = Works(), NotedConsumer(P0)
    async with running(works, consumer, concurrency=3) as parallel:
        for offset in (10, 11, 12):
            await parallel.take(record(offset))
        works.end(11, 12)
        await settle()
        await parallel.commit()
        assert consumer.committed == {}
        works.end(10)
        await settle()
        await parallel.commit()
        assert consumer.committed == {P0: 13}


async def test_when_nothing_is_left_the_commit_comes_at_once() -> None:
    works, consumer = Works(), NotedConsumer(P0)
    works.end(0)
    async with running(works, consumer) as parallel:
        await parallel.take(record(0))
        await settle()
        assert consumer.commits == [{P0: 1}]


async def test_one_key_is_worked_on_one_at_a_time_in_order_and_others_go_beside_it() -> None:
    works = Works()
    async with running(works, NotedConsumer(P0), concurrency=4) as parallel:
        for offset, key in enumerate(["a", "a", "b", "a"]):
            await parallel.take(record(offset, key))
        await settle()
        assert works.begun == [0, 2]
        works.end(0, 1, 2, 3)
        await settle()
        assert [offset for offset in works.ended if offset != 2] == [0, 1, 3]


async def test_with_one_place_records_are_worked_on_as_they_came_whatever_their_keys() -> None:
    works = Works()
    works.end(*range(6))
    async with running(works, NotedConsumer(P0)) as parallel:
        for offset, key in enumerate(["a", "b", "a", "c", "b", "a"]):
            await parallel.take(record(offset, key))
        await settle()
        assert works.begun == [0, 1, 2, 3, 4, 5]


async def test_no_more_than_there_are_places_is_at_work_over_all_partitions() -> None:
    works = Works()
    async with running(works, NotedConsumer(P0, P1), concurrency=2) as parallel:
        for offset in range(3):
            await parallel.take(record(offset, partition=0))
            await parallel.take(record(offset + 100, partition=1))
        await settle()
        assert len(works.begun) == 2


async def test_a_partition_with_a_full_window_is_paused_until_half_of_it_is_done() -> None:
    works, consumer = Works(), NotedConsumer(P0, P1)
    async with running(works, consumer, max_uncommitted=4) as parallel:
        for offset in range(4):
            await parallel.take(record(offset))
        assert consumer.held == {P0}
        works.end(0)
        await settle()
        assert consumer.held == {P0}
        works.end(1)
        await settle()
        assert consumer.held == set()
        works.end(2, 3)


async def test_what_is_done_counts_in_the_window_until_it_is_committed() -> None:
    works, consumer = Works(), NotedConsumer(P0)
    consumer.refuse = True
    async with running(works, consumer, max_uncommitted=4) as parallel:
        for offset in range(4):
            await parallel.take(record(offset))
        works.end(0, 1, 2)
        await settle()
        assert consumer.held == {P0}, "none of them is committed"
        consumer.refuse = False
        await parallel.commit()
        assert consumer.committed == {P0: 3}
        assert consumer.held == set()
        works.end(3)


async def test_records_of_one_kind_do_not_wait_for_places_of_another() -> None:
    works = Works()
    async with running(
        works,
        NotedConsumer(P0),
        slots={"slow": 2, "quick": 1},
        kind_of=lambda each: "quick" if each.offset >= 10 else "slow",
    ) as parallel:
        for offset in (0, 1, 2, 10, 11):
            await parallel.take(record(offset))
        await settle()
        assert works.begun == [0, 1, 10]
        works.end(10)
        await settle()
        assert works.begun == [0, 1, 10, 11]
        works.end(0, 1, 2, 11)


async def test_a_record_that_goes_over_to_another_kind_leaves_its_place_to_its_own() -> None:
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
        work, NotedConsumer(P0), slots={"slow": 1, "quick": 1}, kind_of=lambda each: "quick" if each.offset else "slow"
    ) as parallel:
        for offset in (0, 1, 2):
            await parallel.take(record(offset))
        await settle()
        assert begun == [0, 1, 2], "0 has the slow slot, and 1 waits for it"
        release.set()
        await settle()
        assert begun == [0, 1, 2, -1]


async def test_a_record_that_is_dropped_on_its_way_to_another_kind_leaves_no_place_taken() -> None:
    release, begun = asyncio.Event(), list[int]()

    async def work(delivery: Delivery) -> None:
        begun.append(delivery.record.offset)
        if delivery.record.offset == 1:
            async with delivery.interruptible():
                await delivery.acquire_slot("slow")
        await release.wait()

    consumer = NotedConsumer(P0, P1)
    async with running(
        work, consumer, slots={"slow": 1, "quick": 1}, kind_of=lambda each: "quick" if each.offset else "slow"
    ) as parallel:
        await parallel.take(record(0))
        await parallel.take(record(1, partition=1))
        await settle()
        await parallel.on_partitions_revoked({P1})
        release.set()
        await settle()
        for offset in (2, 3):
            await parallel.take(record(offset))
        await settle()
        assert begun == [0, 1, 2, 3]
        assert [slot._value for slot in parallel._slots.values()] == [1, 1]


async def test_a_pause_is_set_again_after_a_rebalance() -> None:
    consumer = NotedConsumer(P0)
    async with running(Works(), consumer) as parallel:
        parallel.pause_all(True)
        consumer.partitions, consumer.held = {P0, P1}, set()
        await parallel.on_partitions_assigned({P0, P1})
        assert consumer.held == {P0, P1}
        parallel.pause_all(False)
        assert consumer.held == set()


async def test_a_partition_taken_away_is_finished_and_committed_and_what_waits_is_dropped() -> None:
    works, consumer = Works(), NotedConsumer(P0)
    async with running(works, consumer, finish_within=5) as parallel:
        for offset in range(3):
            await parallel.take(record(offset))
        await settle()
        revoked = asyncio.create_task(parallel.on_partitions_revoked({P0}))
        await settle()
        assert not revoked.done(), "it waits for what is at work"
        works.end(0)
        await revoked
        assert consumer.committed == {P0: 1}
        assert works.begun == [0]


async def test_what_comes_again_while_it_is_still_at_work_waits_for_that_run() -> None:
    works, consumer = Works(), NotedConsumer(P0)
    async with running(works, consumer, finish_within=0.01) as parallel:
        await parallel.take(record(7))
        await settle()
        await parallel.on_partitions_revoked({P0})
        await parallel.on_partitions_assigned({P0})
        await parallel.take(record(7))
        await settle()
        assert works.begun == [7]
        works.end(7)
        await settle()
        await parallel.commit()
        assert works.begun == [7]
        assert consumer.committed == {P0: 8}


async def test_what_is_done_but_could_not_be_committed_is_not_worked_on_again() -> None:
    works, consumer = Works(), NotedConsumer(P0)
    async with running(works, consumer, concurrency=2) as parallel:
        await parallel.take(record(0))
        await parallel.take(record(1))
        await settle()
        works.end(1)
        await settle()
        await parallel.on_partitions_revoked({P0})
        works.end(0)
        await parallel.on_partitions_assigned({P0})
        await parallel.take(record(0))
        await parallel.take(record(1))
        await settle()
        await parallel.commit()
        assert works.begun == [0, 1]
        assert consumer.committed == {P0: 2}


async def test_a_failed_record_is_never_committed_nor_those_after_it() -> None:
    async def work(delivery: Delivery) -> None:
        if delivery.record.offset == 1:
            raise ValueError("broken")

    consumer, failures = NotedConsumer(P0), list[Exception]()
    async with running(work, consumer, failures, concurrency=4) as parallel:
        for offset in range(4):
            await parallel.take(record(offset, "same"))
        await settle()
        await parallel.commit()
    assert consumer.committed == {P0: 1}
    assert [str(failure) for failure in failures] == ["broken"]


async def test_a_record_that_rests_is_dropped_when_its_partition_is_taken_away() -> None:
    dropped = asyncio.Event()

    async def work(delivery: Delivery) -> None:
        try:
            async with delivery.interruptible():
                await asyncio.sleep(3600)
        finally:
            dropped.set()

    consumer = NotedConsumer(P0)
    async with running(work, consumer, finish_within=60) as parallel:
        await parallel.take(record(0))
        await settle()
        await asyncio.wait_for(parallel.on_partitions_revoked({P0}), 30)
        assert dropped.is_set()
        assert consumer.committed == {}


async def test_a_commit_that_is_refused_is_made_again_later() -> None:
    works, consumer = Works(), NotedConsumer(P0)
    works.end(0)
    async with running(works, consumer) as parallel:
        consumer.refuse = True
        await parallel.take(record(0))
        await settle()
        assert consumer.commits == []
        consumer.refuse = False
        await parallel.commit()
        assert consumer.committed == {P0: 1}


async def test_stopping_finishes_what_is_at_work_and_commits_it() -> None:
    works, consumer = Works(), NotedConsumer(P0)
    parallel = ParallelConsumer(works, list[Exception]().append, finish_within=5)
    parallel.use(consumer)
    await parallel.take(record(0))
    await parallel.take(record(1))
    await settle()
    stopping = asyncio.create_task(parallel.stop())
    await settle()
    works.end(0)
    await stopping
    assert (works.ended, consumer.committed) == ([0], {P0: 1})
    await parallel.take(record(2))
    assert works.begun == [0], "nothing more is taken"
