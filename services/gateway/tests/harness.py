"""Test harness: a gateway on SQLite, with objects and events in memory, and HTTP without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import httpx2

from savo_contracts.envelope import Envelope, Event
from savo_contracts.scans import ScanRequested
from savo_gateway.app import build
from savo_gateway.settings import GatewaySettings
from savo_runtime.database import Database
from savo_runtime.service import Runtime, Service
from savo_runtime.testing import FakeClock, MemoryStore, memory_runtime, published_by_outbox

__all__ = ["GatewayHarness", "running_gateway"]

T = TypeVar("T")


@dataclass
class GatewayHarness:
    """A gateway under test, with what it stored and published."""

    runtime: Runtime
    service: Service
    http: httpx2.AsyncClient
    clock: FakeClock

    def provided(self, kind: type[T]) -> T:
        """The object of this class that the routes use."""
        found: T = cast(Any, self.service.app).state.provided[kind]
        return found

    def replace_provided(self, part: object) -> None:
        """Let the routes use this object instead of the one of its class."""
        cast(Any, self.service.app).state.provided[type(part)] = part

    @property
    def store(self) -> MemoryStore:
        return cast(MemoryStore, self.runtime.store)

    @property
    def objects(self) -> dict[str, bytes]:
        return self.store.objects

    async def deliver(self, event: Event) -> None:
        """Handle the event as if it came from Kafka."""
        readers: list[tuple[type[Event], Callable[[Envelope[Any]], Awaitable[Any]]]] = [
            (subscription.topic.event, subscription.handle) for subscription in self.service.subscriptions
        ]
        readers += [(snapshot.topic.event, snapshot.apply) for snapshot in self.service.snapshots]
        (read,) = [read for kind, read in readers if kind is type(event)]
        await read(Envelope.new(event, "test"))

    async def run_worker(self, name: str) -> None:
        """Run a worker of the service once."""
        (worker,) = [worker for worker in self.service.workers if worker.name == name]
        await worker.run()

    async def published(self, kind: type[Any] = Event) -> list[Any]:
        return [event for event in await published_by_outbox(self.runtime) if isinstance(event, kind)]

    async def scan(self, photo: bytes, **fields: str) -> ScanRequested:
        """Send a photo. Returns the published `ScanRequested`."""
        answer = await self.http.post("/v1/scans", files={"image": ("photo.jpg", photo)}, data=fields)
        assert answer.status_code == 202, answer.text
        scan_id = answer.json()["scan_id"]
        (event,) = [event for event in await self.published(ScanRequested) if event.scan_id == scan_id]
        return cast(ScanRequested, event)


@asynccontextmanager
async def running_gateway(settings: dict[str, Any], database: Database | None = None) -> AsyncIterator[GatewayHarness]:
    clock = FakeClock()
    async with memory_runtime(
        "gateway", migrations="savo_gateway.migrations", clock=clock, database=database
    ) as runtime:
        service = build(GatewaySettings(**settings), runtime)
        assert service.app is not None
        transport = httpx2.ASGITransport(app=cast(Any, service.app))
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as http:
            yield GatewayHarness(runtime, service, http, clock)
        for stop in service.on_stop:
            await stop()
