"""Snapshots: each replica reads a compacted topic from its start."""

from __future__ import annotations

import asyncio

import pytest

from libs.runtime.tests.messaging.bench import NOON, TIMEOUT, Bench, eventually
from savo_contracts.topics import SUBJECTS_ERASED
from savo_contracts.users import SubjectErased
from savo_runtime.errors import DependencyDownError, FatalError, InvalidMessageError
from savo_runtime.messaging.consuming.readiness import UnhealthyError
from savo_runtime.messaging.consuming.subscriptions import Snapshot, consumes, read_snapshot


class ErasedSubjects:
    """A snapshot of the erased subjects."""

    def __init__(self) -> None:
        self.applied: list[str] = []
        self.error: Exception | None = None

    def snapshot(self) -> Snapshot:
        @consumes(SUBJECTS_ERASED)
        async def on_erased(event: SubjectErased) -> None:
            if self.error:
                raise self.error
            self.applied.append(event.subject)

        return read_snapshot(on_erased)


def erased(subject: str) -> SubjectErased:
    return SubjectErased(subject=subject, erased_at=NOON)


async def test_each_replica_reads_all_records_and_follows_new_ones(bench: Bench) -> None:
    for subject in "abc":
        await bench.publish(erased(subject))
    replicas = [ErasedSubjects(), ErasedSubjects()]
    consumers = [await bench.consume(snapshots=[erasures.snapshot()]) for erasures in replicas]
    for consumer in consumers:
        await eventually(consumer._snapshots[0].caught_up.is_set)
    assert [erasures.applied for erasures in replicas] == [["a", "b", "c"]] * 2

    await bench.publish(erased("d"), partition=2)
    await eventually(lambda: all(erasures.applied[-1] == "d" for erasures in replicas))


async def test_a_replica_is_ready_only_after_it_has_read_the_topic_to_its_end(bench: Bench) -> None:
    await bench.publish(erased("a"))
    erasures = ErasedSubjects()
    erasures.error = DependencyDownError("database", "away")
    consumers = await bench.consume(snapshots=[erasures.snapshot()])
    await asyncio.sleep(0.3)
    with pytest.raises(UnhealthyError, match=r"snapshot of subjects\.erased is still being read"):
        await consumers.check()
    erasures.error = None
    await eventually(consumers._snapshots[0].caught_up.is_set)
    await consumers.check()
    assert erasures.applied == ["a"]


async def test_an_empty_topic_is_caught_up_at_once(bench: Bench) -> None:
    erasures = ErasedSubjects()
    consumers = await bench.consume(snapshots=[erasures.snapshot()])
    await eventually(consumers._snapshots[0].caught_up.is_set)
    await consumers.check()
    assert erasures.applied == []


async def test_unreadable_records_and_tombstones_are_skipped(bench: Bench) -> None:
    await bench.publish(erased("a"))
    await bench.send(SUBJECTS_ERASED.name, b"{half")
    await bench.send(SUBJECTS_ERASED.name, None)
    await bench.publish(erased("b"))
    erasures = ErasedSubjects()
    consumers = await bench.consume(snapshots=[erasures.snapshot()])
    await eventually(consumers._snapshots[0].caught_up.is_set)
    assert erasures.applied == ["a", "b"]


async def test_invalid_records_are_skipped_and_a_fatal_error_stops_the_service(bench: Bench) -> None:
    erasures = ErasedSubjects()
    erasures.error = InvalidMessageError("impossible")
    await bench.publish(erased("a"))
    consumers = await bench.consume(snapshots=[erasures.snapshot()])
    await eventually(consumers._snapshots[0].caught_up.is_set)
    erasures.error = FatalError("cannot go on")
    await bench.publish(erased("b"))
    await asyncio.wait_for(consumers.fatal.wait(), TIMEOUT)
    assert consumers.error is erasures.error
