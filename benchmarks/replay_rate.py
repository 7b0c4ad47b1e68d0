"""Events per second of `savo topics tail` and of `savo replay --dry-run`, beside a bare aiokafka loop over the same topic in the same run.

The bare loop counts records and does nothing else: it connects, goes to the start, and reads to the end that stood. Ours connects in the same way,
prints every event, or holds it against its contract first (--check), or chooses, or counts. kcat (librdkafka, in C) prints the topic
beside them where it is installed.
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
from benchmarks.measuring import Figure, in_turn, interval, rounds
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
"""A second of reading: with fewer, connecting would be half of what is measured."""
ON_THE_EMBEDDED = 12_000
"""It keeps about 5 MB a partition."""

TOPIC = SCANS_COMPLETED


def figures() -> Iterator[Figure]:
    with _broker() as (settings, words):
        events = ON_THE_EMBEDDED if settings.embedded_broker else EVENTS
        asyncio.run(_fill(settings, events))
        contenders: dict[str, Callable[[], object]] = {
            "bare": lambda: asyncio.run(_bare(settings, events)),
            "tail": lambda: _to_nobody(Tail(settings, {TOPIC.name: TOPIC}, Selection())),
            "tail --check": lambda: _to_nobody(Tail(settings, {TOPIC.name: TOPIC}, Selection(), checked=True)),
            "tail --scan-id": lambda: _to_nobody(
                Tail(settings, {TOPIC.name: TOPIC}, Selection(scan_ids=frozenset({"scan-7"})))
            ),
            "dry run": lambda: _dry_run(settings, events),
        }
        if shutil.which("kcat"):
            contenders["kcat"] = lambda: _kcat(settings)
        seconds = in_turn(contenders, rounds=ROUNDS, warm_up=1)
    beside = (
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
        yield _figure(name, events, seconds[contender], seconds["bare"], f"{words}; {beside}")


def _figure(name: str, events: int, ours: list[float], bare: list[float], note: str) -> Figure:
    ratios = [theirs / mine for mine, theirs in zip(ours, bare, strict=True)]
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
    """A real Kafka where one can run, else the embedded broker."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        with temporary_kafka() as kafka:
            settings = RuntimeSettings(kafka_bootstrap_servers=kafka.bootstrap_servers)
            asyncio.run(ensure_topics(settings))
            yield settings, "Apache Kafka"
    except pytest.skip.Exception as why:
        with EmbeddedBroker() as broker:
            yield (
                RuntimeSettings(kafka_bootstrap_servers=broker.bootstrap_servers, embedded_broker=True),
                f"embedded broker ({why.msg})",
            )


async def _fill(settings: RuntimeSettings, events: int) -> None:
    """Golden events of the contracts, each with a scan id of its own."""
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
        found = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - as ours does
        partitions = [TopicPartition(TOPIC.name, number) for number in found.partitions_for_topic(TOPIC.name)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        seen = 0
        async for _ in consumer:
            seen += 1
            if seen == events:
                return seen
    finally:
        await consumer.stop()
    raise AssertionError("a consumer ends only when it is stopped")


def _to_nobody(tail: Tail) -> None:
    with Path(os.devnull).open("w") as nobody, redirect_stdout(nobody):
        asyncio.run(tail.run(Start(), End()))


def _dry_run(settings: RuntimeSettings, events: int) -> None:
    report = asyncio.run(preview_replay(settings, ReplayRequest(TOPIC, sandbox="bench")))
    assert report.chosen == events, report


def _kcat(settings: RuntimeSettings) -> None:
    command = ["kcat", "-C", "-b", settings.kafka_bootstrap_servers, "-t", TOPIC.name, "-o", "beginning", "-e", "-q"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=sys.stderr)
