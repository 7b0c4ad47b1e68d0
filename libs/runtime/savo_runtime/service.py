"""What a service is: the same few things for each of the six, wired by its `build()` and run by `serve()`."""

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
    """Work beside the handlers. A crash is logged and the worker is started again with back-off; a `FatalError` ends the service.

    With `every`, `run` is called again so many seconds after it returned. Without, `run` is a loop that returns only when cancelled.
    """

    name: str
    run: Callable[[], Awaitable[object]]
    every: float | None = None

    async def loop(self) -> None:
        """Work until cancelled. Raises what `run` raises."""
        if self.every is None:
            await self.run()
        else:
            await repeat(self.run, self.every)


@dataclass(frozen=True, kw_only=True)
class Service:
    """What `build()` returns."""

    name: str
    subscriptions: Sequence[Subscription] = ()
    snapshots: Sequence[Snapshot] = ()
    app: ASGIApp | None = None
    """HTTP beside /metrics, /livez and /readyz, which every service has."""
    workers: Sequence[Worker] = ()
    checks: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """Readiness beyond the consumers': each raises with the reason while it is not fulfilled."""
    exports_group_lag: bool = False
    """Exports the lag of every group of the product, not only its own: see `messaging.lag`."""
    on_start: Sequence[Callable[[], Awaitable[None]]] = ()
    """After migrations, before the first record."""
    on_stop: Sequence[Callable[[], Awaitable[None]]] = ()
    on_published: OnPublished | None = None
    """Where the outbox's events stand in Kafka, as soon as they do."""


@dataclass(frozen=True)
class ServiceDefinition:
    """The entry point in the group `savo.services`: what to read, what to build, which migrations to run."""

    name: str
    settings: type[RuntimeSettings]
    build: Callable[[Any, Runtime], Service]
    migrations: str | None = None
    """Importable package of this service's alembic versions, for example `savo_gateway.migrations`."""
    projection: Projection | None = None
    """What of its database can be built anew from topics."""
