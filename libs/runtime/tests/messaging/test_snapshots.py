"""A compacted topic, read whole by each replica."""

from __future__ import annotations

import asyncio

import pytest

from libs.runtime.tests.messaging.bench import NOON, PATIENCE, Bench, eventually
from savo_contracts.topics import SUBJECTS_ERASED
from savo_contracts.users import SubjectErased
from savo_runtime.errors import DependencyDownError, FatalError, InvalidMessageError
from savo_runtime.messaging.consuming.progress import UnhealthyError
from savo_runtime.messaging.consuming.subscriptions import Snapshot, consumes, read_snapshot


class Ledger:
    """A snapshot of who is erased."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.fault: Exception | None = None

    def snapshot(self) -> Snapshot:
        @consumes(SUBJECTS_ERASED)
        async def on_erased(event: SubjectErased) -> None:
            if self.fault:
                raise self.fault
            self.seen.append(event.subject)

        return read_snapshot(on_erased)


def erased(subject: str) -> SubjectErased:
    return SubjectErased(subject=subject, erased_at=NOON)


async def test_each_replica_reads_all_that_was_there_and_follows_what_comes(bench: Bench) -> None:
    for subject in "abc":
        await bench.publish(erased(subject))
    ledgers = [Ledger(), Ledger()]
    consumers = [await bench.consume(snapshots=[ledger.snapshot()]) for ledger in ledgers]
    for each in consumers:
        await eventually(each._snapshots[0].caught_up.is_set)
    assert [ledger.seen for ledger in ledgers] == [["a", "b", "c"]] * 2

    await bench.publish(erased("d"), partition=2)
    await eventually(lambda: all(ledger.seen[-1] == "d" for ledger in ledgers))


async def test_a_replica_is_ready_only_at_the_end_that_the_topic_had(bench: Bench) -> None:
    await bench.publish(erased("a"))
    ledger = Ledger()
    ledger.fault = DependencyDownError("database", "away")
    consumers = await bench.consume(snapshots=[ledger.snapshot()])
    await asyncio.sleep(0.3)
    with pytest.raises(UnhealthyError, match=r"subjects\.erased not read to the end yet"):
        await consumers.check()
    ledger.fault = None
    await eventually(consumers._snapshots[0].caught_up.is_set)
    await consumers.check()
    assert ledger.seen == ["a"]


async def test_an_empty_topic_is_caught_up_at_once(bench: Bench) -> None:
    consumers = await bench.consume(snapshots=[Ledger().snapshot()])
    await eventually(consumers._snapshots[0].caught_up.is_set)


async def test_what_cannot_be_read_and_tombstones_are_passed_over(bench: Bench) -> None:
    await bench.publish(erased("a"))
    await bench.send(SUBJECTS_ERASED.name, b"{half")
    await bench.send(SUBJECTS_ERASED.name, None)
    await bench.publish(erased("b"))
    ledger = Ledger()
    consumers = await bench.consume(snapshots=[ledger.snapshot()])
    await eventually(consumers._snapshots[0].caught_up.is_set)
    assert ledger.seen == ["a", "b"]


async def test_what_cannot_be_applied_is_passed_over_and_a_fatal_error_ends_the_service(bench: Bench) -> None:
    ledger = Ledger()
    ledger.fault = InvalidMessageError("impossible")
    await bench.publish(erased("a"))
    consumers = await bench.consume(snapshots=[ledger.snapshot()])
    await eventually(consumers._snapshots[0].caught_up.is_set)
    ledger.fault = FatalError("cannot go on")
    await bench.publish(erased("b"))
    await asyncio.wait_for(consumers.fatal.wait(), PATIENCE)
    assert consumers.fault is ledger.fault
