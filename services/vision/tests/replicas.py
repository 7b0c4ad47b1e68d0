"""Replicas of vision on a real Kafka, in this process or in their own, with a fake Google."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient
from PIL import Image
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from libs.providers.tests.wire import Reply, Wire, gemini
from libs.runtime.tests.messaging.bench import Bench, eventually
from savo_contracts.envelope import Envelope, ImageRef
from savo_contracts.scans import Arm, ScanCompleted, ScanFailed, ScanRequested
from savo_contracts.topics import SCANS_COMPLETED, SCANS_FAILED, SCANS_REQUESTED, topic_named
from savo_runtime.messaging.consuming.consumers import Consumers
from savo_runtime.messaging.consuming.parallel_consumer import ParallelConsumer
from savo_runtime.messaging.kafka.client_arguments import group_of
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.factory import open_store
from savo_runtime.testing import memory_runtime
from savo_vision.app import build
from savo_vision.settings import VisionSettings

BLOCK = 16
ASKS_GOOGLE, ASKS_CUSTOM = "asks-google", "asks-custom"
"""Subjects that are pinned to an arm, so that tests need no random share."""


def photo_of(number: int) -> bytes:
    """A JPEG with the number's bits as 4 × 4 black and white blocks, readable after downscaling and compression."""
    bits = np.array([number >> place & 1 for place in range(16)], np.uint8).reshape(4, 4) * 255
    buffer = io.BytesIO()
    Image.fromarray(bits.repeat(BLOCK, 0).repeat(BLOCK, 1)).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def number_of(photo: bytes) -> int:
    grey = np.asarray(Image.open(io.BytesIO(photo)).convert("L"))
    centres = grey[BLOCK // 2 :: BLOCK, BLOCK // 2 :: BLOCK].reshape(-1) > 128
    return sum(1 << place for place, is_set in enumerate(centres) if is_set)


@dataclass
class FakeGoogle(Wire):
    """Server with Gemini's protocol. It answers after `seconds`, counts calls, and knows each scan by its photo."""

    seconds: float = 0.0
    calls: Counter[int] = field(default_factory=Counter)
    """Number of calls by scan."""
    calls_by_key: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Scans by API key. Each replica can have its own key."""
    in_flight: set[tuple[str, int]] = field(default_factory=set)
    """Key and scan of each call that is not answered yet."""
    max_in_flight: int = 0
    hangs: set[int] = field(default_factory=set)
    """Scans that are never answered."""
    is_down: bool = False
    """Every call gets status 503."""
    refused: int = 0
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    """Calls wait until it is set."""

    def __post_init__(self) -> None:
        self.may_answer.set()

    async def serve(self, request: Request) -> Response:
        key, number = request.headers["x-goog-api-key"], _scan_of(json.loads(await request.body()))
        self.calls[number] += 1
        self.calls_by_key[key].append(number)
        self.in_flight.add((key, number))
        self.max_in_flight = max(self.max_in_flight, len(self.in_flight))
        disconnected = asyncio.ensure_future(request.receive())
        answered = asyncio.create_task(self._wait(number))
        try:
            await asyncio.wait([disconnected, answered], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.in_flight.discard((key, number))
            disconnected.cancel()
            answered.cancel()
        if self.is_down:
            self.refused += 1
            return Response(status_code=503)
        return Response(Reply(gemini()).bytes(), media_type="application/json")

    async def _wait(self, number: int) -> None:
        if number in self.hangs:
            await asyncio.Event().wait()
        await self.may_answer.wait()
        await asyncio.sleep(self.seconds)


def _scan_of(body: dict[str, Any]) -> int:
    (data,) = (part["inlineData"]["data"] for part in body["contents"][0]["parts"] if "inlineData" in part)
    return number_of(base64.urlsafe_b64decode(data))


@dataclass
class FakeGateway:
    """Requests scans like the gateway: it stores the photo, then publishes the event."""

    bench: Bench
    settings: RuntimeSettings

    def __post_init__(self) -> None:
        self.store = open_store(self.settings)

    async def request(
        self,
        numbers: Iterable[int],
        subject: str,
        *,
        partitions: int = SCANS_REQUESTED.partitions,
        expires_in: float = 3600.0,
    ) -> list[str]:
        """Ids of the requested scans, which expire after `expires_in` seconds."""
        return list(
            await asyncio.gather(
                *(self._request(number, subject, number % partitions, expires_in) for number in numbers)
            )
        )

    async def _request(self, number: int, subject: str, partition: int, expires_in: float) -> str:
        photo, key, now = photo_of(number), f"scans/{number:05}/photo.jpg", datetime.now(UTC)
        await self.store.put(key, photo)
        image = ImageRef(key=key, sha256=f"{number:064x}", bytes=len(photo), width=4 * BLOCK, height=4 * BLOCK)
        event = ScanRequested(
            scan_id=scan_id(number),
            subject=subject,
            image=image,
            requested_at=now,
            expires_at=now + timedelta(seconds=expires_in),
        )
        await self.bench.publish(event, partition=partition)
        return event.scan_id


def scan_id(number: int) -> str:
    return f"scan-{number:05}"


@dataclass
class PublishedAnswers:
    """All events of scans.completed and scans.failed, in order of arrival."""

    by_scan: dict[str, list[ScanCompleted | ScanFailed]] = field(default_factory=lambda: defaultdict(list))

    def __contains__(self, scan: object) -> bool:
        return scan in self.by_scan

    def have(self, scans: Iterable[str]) -> bool:
        return all(scan in self.by_scan for scan in scans)

    def answer_of(self, scan: str) -> ScanCompleted | ScanFailed:
        """The scan's answer. Repeats must be equal."""
        first, *repeats = self.by_scan[scan]
        assert all(repeat == first for repeat in repeats)
        return first

    def completed(self, scans: Iterable[str]) -> list[ScanCompleted]:
        return [answer for answer in map(self.answer_of, scans) if isinstance(answer, ScanCompleted)]

    @property
    def repeats(self) -> int:
        return sum(len(answers) - 1 for answers in self.by_scan.values())

    @asynccontextmanager
    async def collect(self, bootstrap_servers: str) -> AsyncIterator[None]:
        consumer = AIOKafkaConsumer(
            SCANS_COMPLETED.name,
            SCANS_FAILED.name,
            bootstrap_servers=bootstrap_servers,
            auto_offset_reset="earliest",
            group_id=None,
        )
        await consumer.start()
        collecting = asyncio.create_task(self._collect(consumer))
        try:
            yield
        finally:
            collecting.cancel()
            await asyncio.wait([collecting])
            await consumer.stop()

    async def _collect(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            event = Envelope.decode(topic_named(record.topic).event, record.value, record.headers).event
            assert isinstance(event, ScanCompleted | ScanFailed)
            self.by_scan[event.scan_id].append(event)


def custom_model(folder: Path, *, side: int = 64) -> Path:
    """An operator's model, a real network: one egg of high confidence in every photo."""
    rows = raw_rows([(10.0, 10.0, 40.0, 40.0, NAMES.index("egg"), 0.9)], len(NAMES))
    path = folder / "constant-egg.onnx"
    path.write_bytes(constant_model(rows, side=side))
    return path


def vision_settings(shared: RuntimeSettings, model: Path, google: FakeGoogle, *, key: str = "key") -> VisionSettings:
    """Settings with two pinned subjects: the custom model answers one, Google the other."""
    return VisionSettings(
        kafka_bootstrap_servers=shared.kafka_bootstrap_servers,
        data_dir=shared.data_dir,
        database_url=shared.database_url,
        google_api_key=SecretStr(key),
        google_base_url=google.url,
        use_custom_vision=True,
        custom_vision_model_path=str(model),
        custom_vision_rollout=0.0,
        detection_engine="onnxruntime",
        pins={ASKS_GOOGLE: Arm.BASELINE, ASKS_CUSTOM: Arm.CANDIDATE},
    )


@dataclass
class WindowMonitor:
    """Highest values of what must stay bounded: records and pauses of scans.requested."""

    parallel: ParallelConsumer = field(repr=False)
    held: int = 0
    held_of_one_partition: int = 0
    uncommitted_of_one_partition: int = 0
    pauses: int = 0
    resumes: int = 0
    _paused: set[TopicPartition] = field(default_factory=set, repr=False)

    async def run(self) -> None:
        consumer: AIOKafkaConsumer = self.parallel._consumer
        while True:
            self._sample(consumer)
            await asyncio.sleep(0.005)

    def _sample(self, consumer: AIOKafkaConsumer) -> None:
        held = {partition: len(window.deliveries) for partition, window in self.parallel._windows.items()}
        self.held = max(self.held, sum(held.values()))
        self.held_of_one_partition = max(self.held_of_one_partition, *held.values(), 0)
        uncommitted = [
            _position(consumer, partition) - (window.committed or 0)
            for partition, window in self.parallel._windows.items()
        ]
        self.uncommitted_of_one_partition = max(self.uncommitted_of_one_partition, *uncommitted, 0)
        paused = set(consumer.paused())
        self.pauses += len(paused - self._paused)
        self.resumes += len(self._paused - paused)
        self._paused = paused


def _position(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    """Records of the partition that the consumer has returned. The topic is new, so its first offset is 0."""
    state = consumer._subscription.subscription.assignment.state_value(partition)
    return int(state.position) if state is not None and state.has_valid_position else 0


@asynccontextmanager
async def replica(settings: VisionSettings) -> AsyncIterator[WindowMonitor]:
    """The built service in this process with all partitions assigned, its tables in SQLite."""
    async with AsyncExitStack() as stack:
        bare = await stack.enter_async_context(
            memory_runtime("vision", migrations="savo_vision.migrations", clock=lambda: datetime.now(UTC))
        )
        publisher = Publisher(settings, "vision")
        stack.push_async_callback(publisher.stop)
        service = build(settings, replace(bare, publisher=publisher, store=open_store(settings)))
        for stop in reversed(service.on_stop):
            stack.push_async_callback(stop)
        for worker in service.workers:
            stack.enter_context(_running(worker.loop()))
        consumers = Consumers(settings, "vision", publisher, service.subscriptions, service.snapshots)
        stack.push_async_callback(consumers.stop)
        await consumers.start()
        (parallel,) = (reader.parallel for reader in consumers._topic_consumers if reader.topic is SCANS_REQUESTED)
        await eventually(lambda: len(parallel.positions()) == SCANS_REQUESTED.partitions, 30)
        watch = WindowMonitor(parallel)
        stack.enter_context(_running(watch.run()))
        yield watch


@contextmanager
def _running(loop: Awaitable[None]) -> Iterator[None]:
    task = asyncio.ensure_future(loop)
    try:
        yield
    finally:
        task.cancel()


@asynccontextmanager
async def replica_process(settings: VisionSettings, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Starts `python -m savo_runtime vision`, and kills it at the end if it still runs."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SAVO_", "R2_", "OTEL_", "GOOGLE_", "OPENAI_"))
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "savo_runtime",
            "vision",
            env=clean | as_environment(settings),
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def as_environment(settings: VisionSettings) -> dict[str, str]:
    url, key = settings.database_url, settings.provider_key
    return {
        "SAVO_DATA_DIR": str(settings.data_dir),
        "SAVO_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        **({"SAVO_DATABASE_URL": url.get_secret_value()} if url else {}),
        "GOOGLE_API_KEY": key.get_secret_value() if key else "",
        "SAVO_GOOGLE_BASE_URL": settings.provider_base_url or "",
        "SAVO_USE_CUSTOM_VISION": str(settings.use_custom_vision),
        "SAVO_CUSTOM_VISION_MODEL_PATH": settings.custom_vision_model_path or "",
        "SAVO_CUSTOM_VISION_ROLLOUT": str(settings.custom_vision_rollout),
        "SAVO_DETECTION_ENGINE": settings.detection_engine,
        "SAVO_VISION_PINS": json.dumps(settings.pins),
    }


async def partitions_of_members(bootstrap_servers: str) -> list[int]:
    """Number of partitions of scans.requested by member of vision's group; empty during a rebalance."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0, "broker.address.family": "v4"})
    group = group_of("vision", SCANS_REQUESTED.name)
    described = await asyncio.to_thread(admin.describe_consumer_groups([group])[group].result, 10)
    if described.state is not ConsumerGroupState.STABLE:
        return []
    return sorted(len(member.assignment.topic_partitions) for member in described.members)
