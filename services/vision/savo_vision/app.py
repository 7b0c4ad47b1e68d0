"""Vision's composition root: the only reader of its settings, the only place that knows which adapter is behind which port.

A provider's SDK takes a second and 50 MB to import: only the chosen one is.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from savo_contracts.scans import ServedBy
from savo_detection.engines.cpus import usable_cpus
from savo_detection.engines.selection import Engines
from savo_providers.adapter_loader import load_adapter
from savo_providers.breaker import Breaker
from savo_providers.calls import Calls
from savo_runtime.messaging.consuming.subscriptions import Kinds
from savo_runtime.service import Runtime, Service, ServiceDefinition, Worker
from savo_runtime.telemetry.metrics import DAILY_BUDGET
from savo_vision.adapters.models import ModelFiles
from savo_vision.adapters.photos import StoredPhotos
from savo_vision.adapters.projection import PROJECTION
from savo_vision.adapters.results import StoredResults
from savo_vision.adapters.sandbox_provider import Unasked
from savo_vision.budget import Budget
from savo_vision.costs import USUAL_CALL, CostPolicy
from savo_vision.detection_threads import Detecting
from savo_vision.fallback import FallbackPolicy
from savo_vision.handlers import snapshots, subscriptions
from savo_vision.model_slot import ModelSlot, load_engine
from savo_vision.ports import Provider
from savo_vision.routing import Router, RoutingPolicy
from savo_vision.routing_updates import Steering
from savo_vision.scan_pipeline import Scan, ScanPolicy
from savo_vision.settings import VisionSettings
from savo_vision.shadow import SecondLookPolicy, SecondLooks

PROVIDER_PLACES = 72
"""Scans in flight in one replica that ask the provider: 64 calls at once, and the rest on their way to one or from one."""

CUSTOM_PLACES = 32
"""Those that ask our own model: enough for the cores, with as many again waiting for the provider as a fallback."""

CALL_SECONDS = 10.0
RETENTION_PAUSE_SECONDS = 3600.0


def build(settings: VisionSettings, runtime: Runtime) -> Service:
    results = StoredResults(runtime.database)
    steering = build_steering(settings, runtime)
    threads = ThreadPoolExecutor(usable_cpus(), thread_name_prefix="vision-engine")
    scan = build_scan(settings, runtime, steering, results, threads)
    second_looks = scan.second_looks
    slots = {settings.vision_provider: PROVIDER_PLACES, ServedBy.CUSTOM: CUSTOM_PLACES}

    async def forget_old_results() -> None:
        await results.forget_before(runtime.clock() - timedelta(days=settings.scan_retention_days))

    async def stop_threads() -> None:
        await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)

    return Service(
        name="vision",
        subscriptions=subscriptions(scan, results, Kinds(scan.asks, slots)),
        snapshots=snapshots(steering),
        workers=[
            Worker("models", steering.run),
            Worker("retention", forget_old_results, every=RETENTION_PAUSE_SECONDS),
            *([Worker("second-looks", second_looks.run)] if second_looks else []),
        ],
        on_stop=[stop_threads, *([second_looks.close] if second_looks else []), scan.provider.close],
    )


def build_steering(settings: VisionSettings, runtime: Runtime) -> Steering:
    path = settings.custom_vision_model_path
    router = Router(RoutingPolicy(settings.use_custom_vision, settings.custom_vision_rollout, path, settings.pins))
    engines = Engines(settings.detection_engine)
    files = ModelFiles(runtime.store, settings.r2_bucket_name, plain_exports=engines.takes_plain_export)
    load = partial(load_engine, engines=engines)
    return Steering(router, ModelSlot(files, runtime.publisher, runtime.replica, runtime.clock, load), own_path=path)


def build_scan(
    settings: VisionSettings, runtime: Runtime, steering: Steering, results: StoredResults, threads: ThreadPoolExecutor
) -> Scan:
    costs = CostPolicy(settings.provider_price, settings.cpu_hour_usd)
    if settings.daily_budget_usd is not None:
        DAILY_BUDGET.labels(settings.vision_provider).set(settings.daily_budget_usd)
    provider, clock = build_provider(settings), runtime.clock
    budget = Budget(results, settings.vision_provider, settings.daily_budget_usd, clock, costs.of_tokens(USUAL_CALL))
    looks = SecondLookPolicy(settings.shadow_share, settings.teacher_share)
    aside = ThreadPoolExecutor(1, thread_name_prefix="vision-second-look")
    second_looks = SecondLooks(looks, steering.router, steering.slot, provider, budget, results, costs, clock, aside)
    return Scan(
        photos=StoredPhotos(runtime.store),
        results=results,
        router=steering.router,
        slot=steering.slot,
        provider=provider,
        budget=budget,
        policy=ScanPolicy(FallbackPolicy(settings.confidence_threshold), costs),
        clock=clock,
        detecting=Detecting(threads),
        recorded=StoredResults(runtime.live) if runtime.live else None,
        second_looks=second_looks if settings.shadow_share or settings.teacher_share else None,
    )


def build_provider(settings: VisionSettings) -> Provider:
    if settings.sandbox:
        return Unasked(ServedBy(settings.vision_provider), settings.provider_model)
    connection = settings.connection
    calls = Calls(connection.provider, Breaker(connection.provider.name), seconds=CALL_SECONDS)
    adapter = load_adapter("savo_vision.adapters", settings.adapter, connection.provider)
    provider: Provider = adapter.connect(connection, calls)
    return provider


DEFINITION = ServiceDefinition(
    "vision",
    VisionSettings,
    build,
    migrations="savo_vision.migrations",
    projection=PROJECTION,
)
