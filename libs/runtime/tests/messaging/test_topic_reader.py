"""Topic reader: reads up to end offsets, follows new records, and reports a broker that does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from aiokafka import TopicPartition

from libs.runtime.tests.messaging.bench import Bench
from savo_contracts.topics import RECIPES_REQUESTED
from savo_runtime.errors import DependencyDownError
from savo_runtime.messaging.kafka.topic_reader import TopicReader
from savo_runtime.settings import RuntimeSettings
from tests.parts.addresses import free_port

TOPIC = RECIPES_REQUESTED.name
P0, P1 = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


@pytest.fixture
async def reader(bench: Bench) -> AsyncIterator[TopicReader]:
    async with TopicReader(bench.settings) as reader:
        yield reader


async def send(bench: Bench, *values: bytes, partition: int = 0) -> None:
    for value in values:
        await bench.send(TOPIC, value, partition=partition)


async def read(
    reader: TopicReader, starts: dict[TopicPartition, int], ends: dict[TopicPartition, int]
) -> list[tuple[int, bytes]]:
    return [
        (partition.partition, record.value)
        async for partition, records, _ in reader.read(starts, ends)
        for record in records
    ]


async def test_a_read_ends_at_the_given_end_offsets(bench: Bench, reader: TopicReader) -> None:
    await send(bench, b"a", b"b")
    await send(bench, b"c", partition=1)
    partitions = await reader.partitions([TOPIC, "no-such-topic"])
    starts, ends = await reader.beginning_offsets(partitions), await reader.end_offsets(partitions)
    await send(bench, b"later")
    found = await read(reader, {each: starts[each] for each in (P0, P1)}, ends)
    assert sorted(found) == [(0, b"a"), (0, b"b"), (1, b"c")]


async def test_each_batch_has_the_offset_to_continue_from(bench: Bench, reader: TopicReader) -> None:
    await send(bench, b"a", b"b")
    (start,) = (await reader.beginning_offsets([P0])).values()
    (end,) = (await reader.end_offsets([P0])).values()
    reached = [offset async for _, _, offset in reader.read({P0: start}, {P0: end})]
    assert reached[-1] == end
    assert await read(reader, {P0: end}, {P0: end}) == []


async def test_partitions_that_are_not_wanted_keep_their_position(bench: Bench, reader: TopicReader) -> None:
    await send(bench, b"a")
    await send(bench, b"b", partition=1)
    starts, ends = await reader.beginning_offsets([P0, P1]), await reader.end_offsets([P0, P1])
    reading = reader.bounded(starts, ends)
    while P1 in reading.unfinished:
        assert {partition for partition, records, _ in await reading.poll([P1]) if records} <= {P1}
    assert reading.unfinished == {P0}
    while reading.unfinished:
        assert {partition for partition, records, _ in await reading.poll() if records} <= {P0}


async def test_following_returns_new_records(bench: Bench, reader: TopicReader) -> None:
    ends = await reader.end_offsets([P0])
    await send(bench, b"new")
    async with aclosing(reader.follow(ends)) as batches:
        _, records, reached = await anext(batches)
    assert ([record.value for record in records], reached) == ([b"new"], ends[P0] + 1)


async def test_a_broker_that_sends_nothing_although_records_are_left_is_down(bench: Bench) -> None:
    async with TopicReader(bench.settings, silent_after=0.1) as reader:
        ends = await reader.end_offsets([P0])
        with pytest.raises(DependencyDownError, match="has sent nothing"):
            await read(reader, ends, {P0: ends[P0] + 1})


async def test_an_unreachable_broker_is_down() -> None:
    settings = RuntimeSettings(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    with pytest.raises(DependencyDownError, match=f"{settings.kafka_bootstrap_servers} does not answer"):
        async with TopicReader(settings):
            pytest.fail("the reader connected without a broker")
