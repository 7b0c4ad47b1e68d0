"""The fakes for tests behave like the parts that they replace."""

from __future__ import annotations

from uuid import uuid4

import pytest

from savo_contracts.users import SubjectErased
from savo_runtime.errors import DependencyDownError
from savo_runtime.testing import FakeClock, MemoryStore, RecordingPublisher, memory_runtime, published_by_outbox


def erased(subject: str) -> SubjectErased:
    return SubjectErased(subject=subject, erased_at=FakeClock()())


async def test_the_outbox_keeps_only_what_was_committed() -> None:
    async with memory_runtime() as runtime:
        async with runtime.database.session() as session:
            await runtime.outbox.add(session, erased("a"), erased("b"))
            assert await published_by_outbox(runtime) == []

        async def fail() -> None:
            async with runtime.database.session() as session:
                await runtime.outbox.add(session, erased("lost"))
                raise KeyError

        with pytest.raises(KeyError):
            await fail()
        assert await published_by_outbox(runtime) == [erased("a"), erased("b")]


async def test_a_repeated_event_id_is_recorded_once() -> None:
    async with memory_runtime() as runtime:
        event_id = uuid4()
        for _ in range(2):
            async with runtime.database.session() as session:
                await runtime.outbox.add(session, erased("a"), event_id=event_id)
                await runtime.outbox.add(session, erased("b"), erased("c"), event_id=event_id)
        assert await published_by_outbox(runtime) == [erased("a"), erased("b"), erased("c")]


async def test_the_publisher_records_events_or_raises_its_failure() -> None:
    publisher = RecordingPublisher()
    await publisher.publish(erased("a"))
    publisher.failure = DependencyDownError("kafka", "gone")
    with pytest.raises(DependencyDownError):
        await publisher.publish(erased("b"))
    assert publisher.published == [erased("a")]


async def test_a_store_with_a_failure_raises_it_in_every_call() -> None:
    store = MemoryStore()
    store.failure = DependencyDownError("object-store", "gone")
    for attempt in (store.put("a", b""), store.get("a"), store.check()):
        with pytest.raises(DependencyDownError):
            await attempt


def test_the_clock_moves_only_by_advance() -> None:
    clock = FakeClock()
    before = clock()
    assert clock() == before
    assert (clock.advance(1.5, days=1) - before).total_seconds() == 86_401.5
