"""Definition of a service: its settings, `build()`, migrations and projection, and what `build()` returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp

from savo_runtime.messaging.consuming.subscriptions import Snapshot, Subscription
from savo_runtime.messaging.publishing.outbox import OnPublished
from savo_runtime.projection import Projection
from savo_runtime.runtime import Runtime
from savo_runtime.settings import RuntimeSettings
from savo_runtime.timing.recurring import repeat

__all__ = ["Runtime", "Service", "ServiceDefinition", "Worker"]


@dataclass(frozen=True)
class Worker:
    """A background task of a service. After a crash it is restarted with back-off; a `FatalError` stops the service.

    With `every`, `run` is called again that many seconds after it returned. Without, `run` is a loop that returns only
    when cancelled.
    """

    name: str
    run: Callable[[], Awaitable[object]]
    every: float | None = None

    async def loop(self) -> None:
        """Run until cancelled. Raises what `run` raises."""
        if self.every is None:
            await self.run()
        else:
            await repeat(self.run, self.every)


@dataclass(frozen=True, kw_only=True)
class Service:
    """The running parts of a service, as returned by its `build()`."""

    name: str
    subscriptions: Sequence[Subscription] = ()
    snapshots: Sequence[Snapshot] = ()
    app: ASGIApp | None = None
    """The service's own HTTP app. /metrics, /livez and /readyz are added to every service."""
    workers: Sequence[Worker] = ()
    checks: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """Additional readiness checks by name. A check raises an error with the reason while the service is not ready."""
    exports_group_lag: bool = False
    """Exports the lag of every consumer group of the product: see `messaging.kafka.lag`."""
    on_start: Sequence[Callable[[], Awaitable[None]]] = ()
    """Called after migrations, before the first record."""
    on_stop: Sequence[Callable[[], Awaitable[None]]] = ()
    on_published: OnPublished | None = None
    """Called with events of the outbox and their positions in Kafka, once Kafka has acknowledged them."""


@dataclass(frozen=True)
class ServiceDefinition:
    """Entry point in the group `savo.services`: the settings, `build()`, migrations and projection of a service."""

    name: str
    settings: type[RuntimeSettings]
    build: Callable[[Any, Runtime], Service]
    migrations: str | None = None
    """Importable package of this service's alembic versions, for example `savo_gateway.migrations`."""
    projection: Projection | None = None
    """The part of its database that can be rebuilt from topics."""
