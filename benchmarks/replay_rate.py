"""Benchmark: events per second of `savo topics tail` and `savo replay --dry-run`. The peer is a bare aiokafka loop.

The loop connects, seeks to the start and counts records up to the end offset. The commands connect in the same way,
and then print every event, validate it first (--check), select by scan id, or count. kcat (librdkafka, in C) prints the
same topic if it is installed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

import savo_contracts
from benchmarks.measurement import Figure, interval, rounds, run_interleaved
from savo_cli.topics.tail import Tail
from savo_contracts.topics import SCANS_COMPLETED
from savo_operations.replay.positions import End, Start
from savo_operations.replay.replay import preview_replay
from savo_operations.replay.requests import ReplayRequest
from savo_operations.replay.selection import Selection
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker
from savo_runtime.messaging.kafka.topics import ensure_topics
from savo_runtime.settings import RuntimeSettings
from tests.parts.kafka import temporary_kafka

ROUNDS = rounds(12)
EVENTS = 100_000
"""Enough for a second of reading: with fewer events, connecting would dominate."""
EMBEDDED_EVENTS = 12_000
"""The embedded broker holds about 5 MB a partition."""

TOPIC = SCANS_COMPLETED


def figures() -> Iterator[Figure]:
    with _broker() as (settings, broker):
        events = EMBEDDED_EVENTS if settings.embedded_broker else EVENTS
        asyncio.run(_fill(settings, events))
        contenders: dict[str, Callable[[], object]] = {
            "bare": lambda: asyncio.run(_bare(settings, events)),
            "tail": lambda: _discard_output(Tail(settings, {TOPIC.name: TOPIC}, Selection())),
            "tail --check": lambda: _discard_output(Tail(settings, {TOPIC.name: TOPIC}, Selection(), checked=True)),
            "tail --scan-id": lambda: _discard_output(
                Tail(settings, {TOPIC.name: TOPIC}, Selection(scan_ids=frozenset({"scan-7"})))
            ),
            "dry run": lambda: _dry_run(settings, events),
        }
        if shutil.which("kcat"):
            contenders["kcat"] = lambda: _kcat(settings)
        seconds = run_interleaved(contenders, rounds=ROUNDS, warm_up=1)
    kcat = (
        f"kcat prints {events / statistics.median(seconds['kcat']):,.0f}/s"
        if "kcat" in seconds
        else "kcat is not installed here (Debian: kcat)"
    )
    rows = {
        "savo topics tail": "tail",
        "savo topics tail --check": "tail --check",
        "savo topics tail --scan-id": "tail --scan-id",
        "savo replay --dry-run": "dry run",
    }
    for name, contender in rows.items():
        yield _figure(name, events, seconds[contender], seconds["bare"], f"{broker}; {kcat}")


def _figure(name: str, events: int, ours: list[float], bare: list[float], note: str) -> Figure:
    ratios = [bare_seconds / our_seconds for our_seconds, bare_seconds in zip(ours, bare, strict=True)]
    rates = events / statistics.median(ours), events / statistics.median(bare)
    return Figure(
        name,
        "events/s",
        rates[0],
        "bare aiokafka loop",
        rates[1],
        statistics.median(ratios),
        *interval(ratios),
        note=note,
    )


@contextmanager
def _broker() -> Iterator[tuple[RuntimeSettings, str]]:
    """A real Kafka if one can run, otherwise the embedded broker."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        with temporary_kafka() as kafka:
            settings = RuntimeSettings(kafka_bootstrap_servers=kafka.bootstrap_servers)
            asyncio.run(ensure_topics(settings))
            yield settings, "Apache Kafka"
    except pytest.skip.Exception as skipped:
        with EmbeddedBroker() as embedded:
            yield (
                RuntimeSettings(kafka_bootstrap_servers=embedded.bootstrap_servers, embedded_broker=True),
                f"embedded broker ({skipped.msg})",
            )


async def _fill(settings: RuntimeSettings, events: int) -> None:
    """Publish golden events of the contracts, each with a different scan id."""
    examples = [
        json.loads(path.read_text())
        for path in sorted((Path(savo_contracts.__file__).parent / "examples" / TOPIC.name).glob("*.json"))
    ]
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers, linger_ms=20, max_batch_size=2**18)
    await producer.start()
    try:
        sent = []
        for number in range(events):
            example = examples[number % len(examples)]
            value = example["value"] | {"scan_id": f"scan-{number}"}
            headers = [(name, text.encode()) for name, text in example["headers"].items()]
            sent.append(
                await producer.send(
                    TOPIC.name,
                    json.dumps(value, separators=(",", ":")).encode(),
                    key=value["scan_id"].encode(),
                    headers=headers,
                )
            )
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def _bare(settings: RuntimeSettings, events: int) -> int:
    waits = {"fetch_max_wait_ms": 100} if settings.embedded_broker else {}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None, auto_offset_reset="earliest", **waits
    )
    await consumer.start()
    try:
        found = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - the product does the same
        partitions = [TopicPartition(TOPIC.name, number) for number in found.partitions_for_topic(TOPIC.name)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        count = 0
        async for _ in consumer:
            count += 1
            if count == events:
                return count
    finally:
        await consumer.stop()
    raise AssertionError("a consumer stops only when asked to")


def _discard_output(tail: Tail) -> None:
    with Path(os.devnull).open("w") as null, redirect_stdout(null):
        asyncio.run(tail.run(Start(), End()))


def _dry_run(settings: RuntimeSettings, events: int) -> None:
    report = asyncio.run(preview_replay(settings, ReplayRequest(TOPIC, sandbox="bench")))
    assert report.chosen == events, report


def _kcat(settings: RuntimeSettings) -> None:
    command = ["kcat", "-C", "-b", settings.kafka_bootstrap_servers, "-t", TOPIC.name, "-o", "beginning", "-e", "-q"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=sys.stderr)
