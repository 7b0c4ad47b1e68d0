"""Service runner: starts services in order, supervises their tasks, and stops them without losing records.

Start: bind port → migrate tables → build() → on_start → workers → HTTP → consumers.
Stop: HTTP and consumers → workers → outbox flushed → on_stop → database and store closed.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from savo_runtime.database import Database
from savo_runtime.errors import DependencyDownError, FatalError, SavoError
from savo_runtime.http.server import HttpServer, with_health_routes
from savo_runtime.messaging.consuming.consumers import Consumers
from savo_runtime.messaging.kafka.lag import EXPORT_EVERY, LagExporter
from savo_runtime.messaging.publishing.outbox import Outbox, OutboxRelay
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.schema import migrate
from savo_runtime.service import Runtime, Service, ServiceDefinition, Worker
from savo_runtime.settings import RuntimeSettings, guide_values
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.traced import TracedStore
from savo_runtime.telemetry.health import Check, health_app
from savo_runtime.telemetry.metrics import SERVICE_INFO
from savo_runtime.telemetry.redaction import Redaction, secrets_of
from savo_runtime.timing.availability import until_available
from savo_runtime.timing.backoff import Backoff
from savo_runtime.timing.clock import utc_now

__all__ = ["RunningService", "serve"]

log = structlog.get_logger()

STOP_SECONDS = 18.0
FLUSH_SECONDS = 2.0
COUNT_SECONDS = 1.0
DATABASE_WAIT_SECONDS = 60.0
"""Longest wait for a database that is still starting."""
STEADY_SECONDS = 60.0
"""After this run time, the back-off of a worker starts again from its first delay."""


async def serve(
    definitions: Sequence[ServiceDefinition],
    settings: Mapping[str, RuntimeSettings],
    *,
    stop: asyncio.Event,
    on_started: Callable[[RunningService], None] | None = None,
    backoff: Backoff | None = None,
) -> None:
    """Run the services until `stop` is set. `settings` are by service name.

    Raises `FatalError` when a service cannot continue, and `DependencyDownError` when a dependency is not available in
    time. All services are stopped before it returns or raises.
    """
    fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    fatal.add_done_callback(asyncio.Future.exception)  # marks it as retrieved, also when it is set during the stop
    running: list[RunningService] = []
    starts: list[asyncio.Task[None]] = []
    try:
        ports: set[int] = set()
        restarts = backoff or Backoff(0.5, 30.0)
        for definition in definitions:
            chosen = settings[definition.name]
            running.append(RunningService(definition, chosen, _port(chosen, ports), fatal, restarts))
        starts += [asyncio.create_task(service.start()) for service in running]
        starting = asyncio.gather(*starts)
        await _first_of(starting, stop.wait(), fatal)
        if starting.done():
            _write_target(running)
            for service in running:
                (on_started or _log_started)(service)
            await _first_of(stop.wait(), fatal)
    finally:
        for start in starts:
            start.cancel()
        await asyncio.gather(*starts, return_exceptions=True)
        await asyncio.gather(*(service.stop() for service in running))


class RunningService:
    """One service in this process."""

    def __init__(
        self,
        definition: ServiceDefinition,
        settings: RuntimeSettings,
        port: int,
        fatal: asyncio.Future[None],
        backoff: Backoff,
    ) -> None:
        self.name = definition.name
        self._definition = definition
        self._settings = settings
        self._fatal = fatal
        self._backoff = backoff
        self._stopping = False
        self._on_stop = AsyncExitStack()
        self._http = HttpServer(settings.http_host, port)
        self._on_stop.push_async_callback(self._http.stop)
        self._checks: dict[str, Check] = {"started": _still_starting}

    @property
    def url(self) -> str:
        return self._http.url

    @property
    def guide_values(self) -> dict[str, str]:
        """The owner's variables that the service reads, with their values."""
        return guide_values(self._settings)

    @property
    def run_folder(self) -> Path:
        """Folder where a running process writes its pid and URL."""
        return self._settings.own_dir / "run"

    async def start(self) -> None:
        structlog.contextvars.bind_contextvars(service=self.name)
        runtime = await self._open()
        service = self._definition.build(self._settings, runtime)
        await self._start_loops(service, runtime)

    async def stop(self) -> None:
        """Turn readiness red, accept no more work and finish the running work, in at most 18 s."""
        self._stopping = True
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._on_stop.aclose()
        except TimeoutError:
            log.warning("service.stop_timed_out", service=self.name, after_seconds=STOP_SECONDS)
        else:
            log.info("service.stopped", service=self.name)

    async def _open(self) -> Runtime:
        """Open the store, database and publisher. They are closed in reverse order."""
        settings, name = self._settings, self.name
        store = TracedStore(open_store(settings))
        self._on_stop.push_async_callback(store.close)
        database = Database.open(settings, name)
        self._on_stop.push_async_callback(database.close)
        publisher = Publisher(settings, name)
        self._on_stop.push_async_callback(publisher.stop)
        await until_available(partial(migrate, database, self._definition.migrations), within=DATABASE_WAIT_SECONDS)
        with suppress(DependencyDownError):  # it may become available later; readiness is red until then
            await store.check()
        self._checks |= {"database": database.check, "object-store": store.check}
        live = _live_database(settings, name)
        if live:
            self._on_stop.push_async_callback(live.close)
        replica = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        return Runtime(name, replica, store, database, Outbox(name), publisher, utc_now, live)

    async def _start_loops(self, service: Service, runtime: Runtime) -> None:
        for hook in reversed(service.on_stop):
            self._on_stop.push_async_callback(hook)
        for hook in service.on_start:
            await hook()
        relay = OutboxRelay(
            runtime.database, runtime.publisher, runtime.outbox, self.name, on_published=service.on_published
        )
        self._on_stop.push_async_callback(self._flush, relay)
        lag = [self._lag_worker()] if service.exports_group_lag else []
        for worker in (Worker("outbox-relay", relay.run), *lag, *service.workers):
            self._spawn(self._supervise(worker), worker.name)
        consumers = Consumers(self._settings, self.name, runtime.publisher, service.subscriptions, service.snapshots)
        self._on_stop.push_async_callback(_both, self._http.stop, consumers.stop)
        self._checks |= {**service.checks, "kafka": consumers.check}
        await self._serve_http(service)
        self._spawn(self._watch(consumers), "consumers")
        await consumers.start()
        del self._checks["started"]
        SERVICE_INFO.labels(self.name).set(1)

    def _lag_worker(self) -> Worker:
        exporter = LagExporter(self._settings)
        self._on_stop.push_async_callback(exporter.close)
        return Worker("lag", exporter.export, every=EXPORT_EVERY)

    async def _serve_http(self, service: Service) -> None:
        health = health_app(self.name, self._current_checks, Redaction(secrets_of(self._settings)))
        await self._http.start(with_health_routes(service.app, health), has_lifespan=service.app is not None)
        path = self.run_folder / f"{self.name}.json"
        _write_atomically(path, {"pid": os.getpid(), "url": self.url})
        self._on_stop.callback(path.unlink, missing_ok=True)

    def _current_checks(self) -> dict[str, Check]:
        return {"running": _stopping} if self._stopping else dict(self._checks)

    def _spawn(self, loop: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(loop, name=f"{self.name}/{name}")

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._on_stop.push_async_callback(end)

    async def _supervise(self, worker: Worker) -> None:
        attempt = 0
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            crash: Exception | None = None
            try:
                await worker.loop()
            except FatalError as error:
                self._fail(error)
                return
            except Exception as error:  # noqa: BLE001 - logged below, with the delay
                crash = error
            attempt = 1 if clock() - began > STEADY_SECONDS else attempt + 1
            delay = self._backoff.delay(attempt)
            seconds = round(delay, 1)
            if crash:
                log.error("worker.crashed", worker=worker.name, restart_in_seconds=seconds, exc_info=crash)
            else:
                log.warning("worker.ended_unexpectedly", worker=worker.name, restart_in_seconds=seconds)
            await asyncio.sleep(delay)

    async def _watch(self, consumers: Consumers) -> None:
        await consumers.fatal.wait()
        error = consumers.error
        self._fail(error if isinstance(error, SavoError) else FatalError(f"the consumers failed: {error!r}"))

    def _fail(self, error: SavoError) -> None:
        log.error("service.failed", service=self.name, reason=error.reason, error=str(error))
        if not self._fatal.done():
            self._fatal.set_exception(error)

    async def _flush(self, relay: OutboxRelay) -> None:
        """Publish the rows left in the outbox, if Kafka answers in time; otherwise the next start publishes them."""
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                while await relay.relay_once():
                    continue
        except (SavoError, TimeoutError) as error:
            log.warning("outbox.unsent_at_stop", events=await _unsent_events(relay), error=str(error) or "no answer")


async def _unsent_events(relay: OutboxRelay) -> int | None:
    """Events left in the outbox; None while the database does not answer."""
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            return await relay.count_unsent()
    except (SavoError, TimeoutError):
        return None


def _live_database(settings: RuntimeSettings, service: str) -> Database | None:
    """The live service's database, in a sandbox only. A missing SQLite file is not created."""
    if settings.sandbox is None:
        return None
    live = Database.open(settings.model_copy(update={"sandbox": None}), service)
    return live if not live.is_sqlite or Path(live.url.database or "").exists() else None


async def _first_of(*waits: Awaitable[Any]) -> None:
    """Wait until one is done and raise its error. Other futures continue; other coroutines are cancelled."""
    owned = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(owned, return_when=asyncio.FIRST_COMPLETED)
        for finished in done:
            finished.result()
    finally:
        for wait, task in zip(waits, owned, strict=True):
            if task is not wait:
                task.cancel()


async def _both(*stops: Callable[[], Awaitable[None]]) -> None:
    await asyncio.gather(*(stop() for stop in stops))


async def _still_starting() -> None:
    raise RuntimeError("the service has not finished starting")


async def _stopping() -> None:
    raise RuntimeError("the service is stopping")


def _port(settings: RuntimeSettings, taken: set[int]) -> int:
    """The port of a service. Services of one process share the environment: only the first gets the configured port."""
    port = 0 if settings.http_port in taken else settings.http_port
    taken.add(port)
    return port


def _log_started(service: RunningService) -> None:
    log.info("service.started", service=service.name, url=service.url, **service.guide_values)


def _write_target(running: Sequence[RunningService]) -> None:
    """Write a target for Prometheus' file discovery: one for the process, since its services share one registry.

    The file stays when the process dies, so that Prometheus reports the target as down. The next process overwrites it.
    """
    names = "+".join(service.name for service in running)
    target = {"targets": [running[0].url.removeprefix("http://")], "labels": {"service": names}}
    _write_atomically(running[0].run_folder / "prometheus" / f"{names}.json", [target])


def _write_atomically(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_text(json.dumps(content))
    fresh.replace(path)
