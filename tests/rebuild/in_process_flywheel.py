"""The six services in one process, with their handlers, outboxes and databases, on a real broker.

A test drives them step by step: `process_all` returns when every record is handled. There are no consumer groups.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx2

from savo_collector.app import DEFINITION as COLLECTOR
from savo_collector.settings import CollectorSettings
from savo_contracts.envelope import Event, derived_id
from savo_contracts.topics import TOPICS, topic_named, topic_of
from savo_gateway.app import DEFINITION as GATEWAY
from savo_gateway.settings import GatewaySettings
from savo_operations.rebuild.ordered_reader import OrderedReader, open_ordered_reader
from savo_reasoning.app import DEFINITION as REASONING
from savo_reasoning.settings import ReasoningSettings
from savo_rollout.app import DEFINITION as ROLLOUT
from savo_rollout.settings import RolloutSettings
from savo_runtime.database import Database
from savo_runtime.messaging.consuming.records import decode
from savo_runtime.messaging.consuming.subscriptions import bind
from savo_runtime.messaging.kafka.topics import ensure_topics
from savo_runtime.messaging.publishing.outbox import Outbox, OutboxRelay
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.schema import migrate
from savo_runtime.service import Runtime, Service, ServiceDefinition
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.factory import open_store
from savo_trainer.app import DEFINITION as TRAINER
from savo_trainer.settings import TrainerSettings
from savo_vision.adapters.results import StoredResults
from savo_vision.app import DEFINITION as VISION
from savo_vision.app import build_pipeline, build_routing_updates
from savo_vision.handlers import on_scan_erased, on_scan_requested, on_subject_erased
from savo_vision.settings import VisionSettings
from services.vision.tests.conftest import FakeProvider

__all__ = ["DEFINITIONS", "InProcessFlywheel", "running_flywheel"]

DEFINITIONS = {each.name: each for each in (GATEWAY, VISION, COLLECTOR, TRAINER, ROLLOUT, REASONING)}

_LENIENT: Any = {
    "collect_training_data": True,
    "min_sharpness": 0,
    "min_mean_luma": 0,
    "min_bright_luma": 0,
    "min_detail": 0,
    "min_contrast": 0,
    "max_clipped": 1,
    "max_noise": 255,
    "min_side": 16,
    "training_threshold": 3,
}


@dataclass
class InProcessFlywheel:
    """The running services, and what a test needs to call them."""

    settings: dict[str, RuntimeSettings]
    reader: OrderedReader
    provider: FakeProvider
    http: httpx2.AsyncClient
    services: dict[str, Service] = field(default_factory=dict)
    runtimes: dict[str, Runtime] = field(default_factory=dict)
    relays: list[OutboxRelay] = field(default_factory=list)

    async def process_all(self) -> None:
        """Publishes and handles records until none is left."""
        while True:
            processed = sum([await relay.relay_once() for relay in self.relays])
            async for record in self.reader.read_until(await self.reader.ends()):
                processed += 1
                if record.value is not None:
                    await self._deliver(decode(topic_named(record.topic), record))
            if not processed:
                return

    async def publish(self, service: str, *events: Event) -> None:
        for event in events:
            await self.runtimes[service].publisher.publish(event)

    async def end_offsets(self) -> dict[Any, int]:
        return dict(await self.reader.ends())

    async def _deliver(self, envelope: Any) -> None:
        topic = topic_of(envelope.event)
        for name, service in self.services.items():
            for subscription in service.subscriptions:
                if subscription.topic is topic:
                    outcome = await subscription.handle(envelope)
                    for event in [outcome] if isinstance(outcome, Event) else outcome or ():
                        event_id = derived_id(envelope.id, event.type, topic_of(event).key(event))
                        await self.runtimes[name].publisher.publish(event, event_id=event_id)


@asynccontextmanager
async def running_flywheel(
    data_dir: Path, bootstrap_servers: str, *, embedded: bool, database_url: str | None = None
) -> AsyncIterator[InProcessFlywheel]:
    common: Any = {
        "data_dir": data_dir,
        "kafka_bootstrap_servers": bootstrap_servers,
        "embedded_broker": embedded,
        "database_url": database_url,
    }
    settings = _settings(common)
    await ensure_topics(settings["gateway"])
    async with AsyncExitStack() as stack:
        flywheel = InProcessFlywheel(
            settings,
            await stack.enter_async_context(open_ordered_reader(settings["gateway"], TOPICS)),
            FakeProvider(),
            cast(Any, None),
        )
        for definition in DEFINITIONS.values():
            await _start(flywheel, definition, stack)
        transport = httpx2.ASGITransport(app=cast(Any, flywheel.services["gateway"].app))
        flywheel.http = await stack.enter_async_context(
            httpx2.AsyncClient(transport=transport, base_url="http://gateway")
        )
        yield flywheel


def _settings(common: Any) -> dict[str, RuntimeSettings]:
    return {
        "gateway": GatewaySettings(**common),
        "vision": VisionSettings(**common, google_base_url="http://127.0.0.1:9"),
        "collector": CollectorSettings(**common, **_LENIENT),
        "trainer": TrainerSettings(**common),
        "rollout": RolloutSettings(**common, use_custom_vision=True),
        "reasoning": ReasoningSettings(**common),
    }


async def _start(flywheel: InProcessFlywheel, definition: ServiceDefinition, stack: AsyncExitStack) -> None:
    settings = flywheel.settings[definition.name]
    database, publisher, store = (
        Database.open(settings, definition.name),
        Publisher(settings, definition.name),
        open_store(settings),
    )
    for close in (database.close, publisher.stop, store.close):
        stack.push_async_callback(close)
    await migrate(database, definition.migrations)
    runtime = Runtime(
        definition.name, "test-0", store, database, Outbox(definition.name), publisher, lambda: datetime.now(UTC)
    )
    service = (
        _vision(flywheel, cast(VisionSettings, settings), runtime, stack)
        if definition is VISION
        else definition.build(settings, runtime)
    )
    for stop in service.on_stop:
        stack.push_async_callback(stop)
    if definition is ROLLOUT:
        for start in service.on_start:
            await start()
    flywheel.services[definition.name], flywheel.runtimes[definition.name] = service, runtime
    flywheel.relays.append(
        OutboxRelay(database, publisher, runtime.outbox, definition.name, on_published=service.on_published)
    )


def _vision(flywheel: InProcessFlywheel, settings: VisionSettings, runtime: Runtime, stack: AsyncExitStack) -> Service:
    """The service as `build` creates it, with a fake provider."""
    threads = ThreadPoolExecutor(1)
    stack.callback(threads.shutdown)
    results = StoredResults(runtime.database)
    built = build_pipeline(settings, runtime, build_routing_updates(settings, runtime), results, threads)
    stack.push_async_callback(built.provider.close)
    pipeline = replace(built, provider=flywheel.provider)
    bound = [
        bind(on_scan_requested, pipeline=pipeline),
        bind(on_scan_erased, results=results),
        bind(on_subject_erased, results=results),
    ]
    return Service(name="vision", subscriptions=bound)
