"""Outbox and inbox on SQLite and PostgreSQL, with a fake Kafka that can fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from libs.runtime.tests.messaging.bench import NOON, Bench, eventually, recipes_requested
from savo_contracts.envelope import Envelope, RecordRef, derived_id
from savo_contracts.recipes import RecipesRequested
from savo_contracts.topics import RECIPES_REQUESTED
from savo_runtime.database import Database
from savo_runtime.errors import DependencyDownError
from savo_runtime.messaging.publishing.inbox import mark_processed
from savo_runtime.messaging.publishing.outbox import BATCH, Outbox, OutboxRelay
from savo_runtime.messaging.publishing.publisher import OutgoingRecord
from savo_runtime.messaging.publishing.tables import OutboxRow
from savo_runtime.schema import migrate


class RecordingSender:
    """A fake `Sender` that records what it sends."""

    def __init__(self) -> None:
        self.sent: list[OutgoingRecord] = []
        self.down = False

    async def send_all(self, records: Sequence[OutgoingRecord]) -> list[RecordRef]:
        if self.down:
            raise DependencyDownError("kafka", "not acknowledged")
        self.sent += records
        return [
            RecordRef(record.topic, 0, offset, NOON)
            for offset, record in enumerate(records, len(self.sent) - len(records))
        ]

    def ids(self) -> list[UUID]:
        return [UUID(dict(record.headers)["ce_id"].decode()) for record in self.sent]

    def keys(self) -> list[str]:
        return [record.key.decode() for record in self.sent if record.key]


class CountingRelay(OutboxRelay):
    queries = 0

    async def _oldest(self) -> Sequence[OutboxRow]:
        self.queries += 1
        return await super()._oldest()


@pytest.fixture
async def tables(database: Database) -> Database:
    await migrate(database)
    return database


@pytest.fixture
def outbox() -> Outbox:
    return Outbox("gateway", clock=lambda: NOON)


@pytest.fixture
def sender() -> RecordingSender:
    return RecordingSender()


@pytest.fixture
def relay(tables: Database, sender: RecordingSender, outbox: Outbox) -> OutboxRelay:
    return OutboxRelay(tables, sender, outbox, "gateway", poll_every=0.05)


async def add(database: Database, outbox: Outbox, *names: str, event_id: UUID | None = None) -> None:
    async with database.session() as session:
        await outbox.add(session, *(recipes_requested(name) for name in names), event_id=event_id)


async def test_events_are_published_once_in_the_order_they_were_added(
    tables: Database, outbox: Outbox, relay: OutboxRelay, sender: RecordingSender
) -> None:
    await add(tables, outbox, "a", "b")
    await add(tables, outbox, "c")
    assert await relay.relay_once() == 3
    assert await relay.relay_once() == 0
    assert sender.keys() == ["a", "b", "c"]


async def test_the_complete_envelope_is_published(
    tables: Database, outbox: Outbox, relay: OutboxRelay, sender: RecordingSender
) -> None:
    event_id = uuid4()
    await add(tables, outbox, "a", event_id=event_id)
    await relay.relay_once()
    (record,) = sender.sent
    assert record.topic == RECIPES_REQUESTED.name
    assert record.value is not None
    found = Envelope.decode(RecipesRequested, record.value, record.headers)
    assert found == Envelope(recipes_requested("a"), event_id, "gateway", NOON, found.traceparent)


async def test_a_transaction_that_fails_publishes_nothing(
    tables: Database, outbox: Outbox, relay: OutboxRelay, sender: RecordingSender
) -> None:
    async def fails() -> None:
        async with tables.session() as session:
            await outbox.add(session, recipes_requested("a"))
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        await fails()
    await relay.relay_once()
    assert sender.sent == []
    assert not outbox.added.is_set()


async def test_the_same_id_twice_is_one_event(
    tables: Database, outbox: Outbox, relay: OutboxRelay, sender: RecordingSender
) -> None:
    event_id = uuid4()
    await add(tables, outbox, "a", event_id=event_id)
    await add(tables, outbox, "a", event_id=event_id)
    await relay.relay_once()
    assert sender.ids() == [event_id]


async def test_several_events_with_one_id_get_the_same_derived_ids_in_a_repeat(
    tables: Database, outbox: Outbox, relay: OutboxRelay, sender: RecordingSender
) -> None:
    event_id = uuid4()
    for _ in range(2):
        await add(tables, outbox, "a", "b", event_id=event_id)
    await relay.relay_once()
    assert sender.ids() == [derived_id(event_id, RecipesRequested.type, key) for key in ("a", "b")]


async def test_rows_are_kept_while_kafka_is_down_and_published_afterwards(
    tables: Database, outbox: Outbox, relay: OutboxRelay, sender: RecordingSender
) -> None:
    await add(tables, outbox, "a")
    sender.down = True
    with pytest.raises(DependencyDownError):
        await relay.relay_once()
    assert await relay.count_unsent() == 1
    sender.down = False
    assert await relay.relay_once() == 1
    assert await relay.count_unsent() == 0


async def test_a_crash_between_publishing_and_deleting_publishes_the_same_id_again(
    tables: Database, outbox: Outbox, relay: OutboxRelay, sender: RecordingSender
) -> None:
    class CrashesOnce(RecordingSender):
        async def send_all(self, records: Sequence[OutgoingRecord]) -> list[RecordRef]:
            await super().send_all(records)
            raise KeyboardInterrupt

    crashing, event_id = CrashesOnce(), uuid4()
    await add(tables, outbox, "a", event_id=event_id)
    with pytest.raises(KeyboardInterrupt):
        await OutboxRelay(tables, crashing, outbox, "gateway").relay_once()
    await relay.relay_once()
    assert crashing.ids() == sender.ids() == [event_id]


async def test_a_commit_wakes_the_relay(tables: Database, outbox: Outbox, sender: RecordingSender) -> None:
    relay = asyncio.create_task(OutboxRelay(tables, sender, outbox, "gateway", poll_every=3600).run())
    await asyncio.sleep(0.05)
    await add(tables, outbox, "a")
    await eventually(lambda: sender.keys() == ["a"])
    relay.cancel()
    await asyncio.wait([relay])
    assert sender.keys() == ["a"]


async def test_a_row_committed_by_this_process_is_published_without_a_query(
    tables: Database, outbox: Outbox, sender: RecordingSender
) -> None:
    relay = CountingRelay(tables, sender, outbox, "gateway", poll_every=3600)
    for name in ("a", "b", "c"):
        await add(tables, outbox, name)
        assert await relay.relay_once() == 1
    assert sender.keys() == ["a", "b", "c"]
    assert relay.queries == (1 if tables.is_sqlite else 3)


async def test_after_an_error_the_oldest_rows_are_published_first(
    tables: Database, outbox: Outbox, relay: OutboxRelay, sender: RecordingSender
) -> None:
    assert await relay.relay_once() == 0
    await add(tables, outbox, "a")
    sender.down = True
    with pytest.raises(DependencyDownError):
        await relay.relay_once()
    sender.down = False
    await add(tables, outbox, "b")
    assert await relay.relay_once() == 2
    assert sender.keys() == ["a", "b"]


async def test_rows_of_another_process_are_found_while_this_one_commits_more(
    tables: Database, outbox: Outbox, sender: RecordingSender
) -> None:
    relay = OutboxRelay(tables, sender, outbox, "gateway", poll_every=0)
    assert await relay.relay_once() == 0
    await add(tables, Outbox("gateway"), "theirs")
    await add(tables, outbox, "ours")
    assert await relay.relay_once() == 2
    assert sender.keys() == ["theirs", "ours"]


async def test_more_rows_than_a_batch_are_published_once_in_order(
    tables: Database, outbox: Outbox, relay: OutboxRelay, sender: RecordingSender
) -> None:
    assert await relay.relay_once() == 0
    names = [f"n{number:04}" for number in range(BATCH + 50)]
    await add(tables, outbox, *names)
    assert [await relay.relay_once() for _ in range(3)] == [BATCH, 50, 0]
    assert sender.keys() == names


async def test_a_relay_continues_after_kafka_was_down(
    tables: Database, outbox: Outbox, relay: OutboxRelay, sender: RecordingSender
) -> None:
    sender.down = True
    await add(tables, outbox, "a")
    running = asyncio.create_task(relay.run())
    await asyncio.sleep(0.15)
    sender.down = False
    await eventually(lambda: sender.keys() == ["a"])
    running.cancel()
    await asyncio.wait([running])
    assert sender.keys() == ["a"], "published once"


@pytest.mark.parametrize("database_settings", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
async def test_relays_of_several_replicas_publish_each_row_once_in_order(
    tables: Database, outbox: Outbox, sender: RecordingSender
) -> None:
    names = [f"{number:03}" for number in range(300)]
    await add(tables, outbox, *names)
    relays = [
        asyncio.create_task(OutboxRelay(tables, sender, outbox, "gateway", poll_every=0.01).run()) for _ in range(4)
    ]
    await eventually(lambda: len(sender.sent) >= 300)
    await asyncio.sleep(0.1)
    for relay in relays:
        relay.cancel()
    await asyncio.wait(relays)
    assert sender.keys() == names


async def test_a_relayed_event_arrives_on_kafka(bench: Bench, tables: Database, outbox: Outbox) -> None:
    await add(tables, outbox, "a", "b", "c")
    assert await OutboxRelay(tables, bench.publisher, outbox, "gateway").relay_once() == 3
    records = await bench.read(RECIPES_REQUESTED.name, 3)
    assert {record.key for record in records} == {b"a", b"b", b"c"}


async def test_an_event_is_marked_as_processed_once(tables: Database) -> None:
    event_id = uuid4()
    async with tables.session() as session:
        assert await mark_processed(session, event_id)
        assert not await mark_processed(session, event_id)
    async with tables.session() as session:
        assert not await mark_processed(session, event_id)
        assert await mark_processed(session, uuid4())


async def test_a_mark_that_was_rolled_back_does_not_count(tables: Database) -> None:
    event_id = uuid4()

    async def fails() -> None:
        async with tables.session() as session:
            await mark_processed(session, event_id)
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        await fails()
    async with tables.session() as session:
        assert await mark_processed(session, event_id)
