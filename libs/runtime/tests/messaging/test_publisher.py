"""Publisher: deadlines, failed sends, order, and the ids of published events."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from libs.runtime.tests.messaging.bench import NOON, Bench, recipes_requested
from savo_contracts.envelope import Envelope
from savo_contracts.recipes import RecipesRequested
from savo_contracts.topics import RECIPES_REQUESTED
from savo_runtime.errors import DependencyDownError, InvalidMessageError
from savo_runtime.messaging.publishing.publisher import OutgoingRecord, Publisher, record_of
from savo_runtime.messaging.tracing import consumer_span, current_traceparent
from savo_runtime.settings import RuntimeSettings


async def test_a_published_event_has_its_id_source_and_trace(bench: Bench) -> None:
    with trace.use_span(TracerProvider().get_tracer("test").start_span("upload")):
        traceparent = current_traceparent()
        await bench.publisher.publish(recipes_requested("a"))
    (record,) = await bench.read(RECIPES_REQUESTED.name, 1)
    found = Envelope.decode(RecipesRequested, record.value, record.headers)
    assert (found.event, found.source, found.time) == (recipes_requested("a"), "reasoning", NOON)
    assert traceparent is not None
    assert found.traceparent is not None
    assert found.traceparent.split("-")[1] == traceparent.split("-")[1]
    assert record.key == b"a"


async def test_many_records_keep_their_order_within_a_key(bench: Bench) -> None:
    await bench.publisher.send_all(
        [record_of(Envelope.new(recipes_requested("same", str(number)), "test", time=NOON)) for number in range(1, 51)]
    )
    records = await bench.read(RECIPES_REQUESTED.name, 50)
    assert [RecipesRequested.model_validate_json(record.value).scan_id for record in records] == [
        str(number) for number in range(1, 51)
    ]


async def test_a_too_large_record_is_invalid_and_the_next_record_is_sent(bench: Bench) -> None:
    message = "record with key 'big' for recipes.requested has 3,145,731 bytes; at most 2,097,152 are allowed"
    with pytest.raises(InvalidMessageError, match=message):
        await bench.publisher.send(OutgoingRecord(RECIPES_REQUESTED.name, b"big", bytes(3 * 2**20), []))
    await bench.publisher.publish(recipes_requested("a"))


async def test_a_too_large_record_of_a_batch_is_named(bench: Bench) -> None:
    small = OutgoingRecord(RECIPES_REQUESTED.name, b"small", b"{}", [])
    big = OutgoingRecord(RECIPES_REQUESTED.name, b"big", bytes(3 * 2**20), [])
    with pytest.raises(InvalidMessageError, match="record with key 'big'"):
        await bench.publisher.send_all([small, big, small])


async def test_a_send_to_a_silent_kafka_fails_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = RuntimeSettings(kafka_bootstrap_servers=f"127.0.0.1:{silent.getsockname()[1]}")
        publisher, began = Publisher(settings, "gateway", deadline=0.3), time.monotonic()
        with pytest.raises(DependencyDownError, match="kafka is down"):
            await publisher.publish(recipes_requested("a"))
        assert time.monotonic() - began < 30, "aiokafka alone would wait for 40 s"
        await publisher.stop()


async def test_concurrent_failed_sends_create_a_single_new_producer(bench: Bench) -> None:
    publisher = Publisher(bench.settings, "gateway", deadline=1.0)
    await publisher.start()
    first = publisher._producer
    assert first is not None
    await first.client.close()
    outcomes = await asyncio.gather(
        *(publisher.publish(recipes_requested(number)) for number in range(5)), return_exceptions=True
    )
    assert any(isinstance(outcome, DependencyDownError) for outcome in outcomes)
    await publisher.publish(recipes_requested("after"))
    assert publisher._producer is not first
    await publisher.stop()


def test_processing_a_record_belongs_to_the_trace_in_its_headers() -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with consumer_span("scans.requested", traceparent):
        inside = current_traceparent()
    assert inside is not None
    assert inside.split("-")[1] == traceparent.split("-")[1]


async def test_a_send_returns_the_position_and_time_of_each_record(bench: Bench) -> None:
    records = [
        record_of(Envelope.new(recipes_requested("same", str(number)), "test", time=NOON)) for number in range(3)
    ]
    placed = await bench.publisher.send_all(records)
    assert [sent.offset - placed[0].offset for sent in placed] == [0, 1, 2]
    assert {sent.topic for sent in placed} == {RECIPES_REQUESTED.name}
    assert {sent.at for sent in placed} == {NOON}, "by the publisher's own clock"
