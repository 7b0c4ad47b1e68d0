"""Composition root of the vision service.

Only the chosen provider's SDK is imported, because each takes a second and 50 MB.
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
from savo_vision.adapters.sandbox_provider import SandboxProvider
from savo_vision.box_proposals import ProposeBoxes
from savo_vision.budget import Budget
from savo_vision.comparisons import ComparisonPolicy, Comparisons
from savo_vision.costs import TYPICAL_CALL, CostPolicy
from savo_vision.detection_threads import DetectionThreads
from savo_vision.fallback import FallbackPolicy
from savo_vision.handlers import snapshots, subscriptions
from savo_vision.loaded_models import LoadedModels, load_engine
from savo_vision.ports import ProviderDetector
from savo_vision.routing import Router, RoutingPolicy
from savo_vision.routing_updates import RoutingUpdates
from savo_vision.scan_pipeline import ScanPipeline, ScanPolicy
from savo_vision.settings import VisionSettings

PROVIDER_SLOTS = 72
"""Scans in flight in one replica that ask the provider: 64 calls, and scans shortly before or after their call."""

CUSTOM_SLOTS = 32
"""Scans in flight that ask the custom model: enough for the cores, and as many that fall back to the provider."""

CALL_SECONDS = 10.0
RETENTION_PAUSE_SECONDS = 3600.0


def build(settings: VisionSettings, runtime: Runtime) -> Service:
    results = StoredResults(runtime.database)
    routing_updates = build_routing_updates(settings, runtime)
    threads = ThreadPoolExecutor(usable_cpus(), thread_name_prefix="vision-engine")
    pipeline = build_pipeline(settings, runtime, routing_updates, results, threads)
    comparisons = pipeline.comparisons
    propose = ProposeBoxes(results, pipeline.photos, pipeline.loaded_models, pipeline.detection_threads, runtime.clock)
    slots = {settings.vision_provider: PROVIDER_SLOTS, ServedBy.CUSTOM: CUSTOM_SLOTS}

    async def delete_expired_results() -> None:
        await results.delete_before(runtime.clock() - timedelta(days=settings.scan_retention_days))

    async def stop_threads() -> None:
        await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)

    return Service(
        name="vision",
        subscriptions=subscriptions(pipeline, results, Kinds(pipeline.first_detector, slots), propose),
        snapshots=snapshots(routing_updates),
        workers=[
            Worker("models", routing_updates.run),
            Worker("retention", delete_expired_results, every=RETENTION_PAUSE_SECONDS),
            *([Worker("second-looks", comparisons.run)] if comparisons else []),
        ],
        on_stop=[stop_threads, *([comparisons.close] if comparisons else []), pipeline.provider.close],
    )


def build_routing_updates(settings: VisionSettings, runtime: Runtime) -> RoutingUpdates:
    path = settings.custom_vision_model_path
    router = Router(RoutingPolicy(settings.use_custom_vision, settings.custom_vision_rollout, path, settings.pins))
    engines = Engines(settings.detection_engine)
    files = ModelFiles(runtime.store, settings.r2_bucket_name, plain_exports=engines.takes_plain_export)
    load = partial(load_engine, engines=engines)
    loaded_models = LoadedModels(files, runtime.publisher, runtime.replica, runtime.clock, load)
    return RoutingUpdates(router, loaded_models, operator_model_path=path)


def build_pipeline(
    settings: VisionSettings,
    runtime: Runtime,
    routing_updates: RoutingUpdates,
    results: StoredResults,
    threads: ThreadPoolExecutor,
) -> ScanPipeline:
    costs = CostPolicy(settings.provider_price, settings.cpu_hour_usd)
    if settings.daily_budget_usd is not None:
        DAILY_BUDGET.labels(settings.vision_provider).set(settings.daily_budget_usd)
    provider, clock = build_provider(settings), runtime.clock
    budget = Budget(results, settings.vision_provider, settings.daily_budget_usd, clock, costs.of_tokens(TYPICAL_CALL))
    comparisons = Comparisons(
        policy=ComparisonPolicy(settings.shadow_share, settings.teacher_share),
        router=routing_updates.router,
        loaded_models=routing_updates.loaded_models,
        provider=provider,
        budget=budget,
        results=results,
        costs=costs,
        clock=clock,
        threads=ThreadPoolExecutor(1, thread_name_prefix="vision-second-look"),
    )
    return ScanPipeline(
        photos=StoredPhotos(runtime.store),
        results=results,
        router=routing_updates.router,
        loaded_models=routing_updates.loaded_models,
        provider=provider,
        budget=budget,
        policy=ScanPolicy(FallbackPolicy(settings.confidence_threshold), costs),
        clock=clock,
        detection_threads=DetectionThreads(threads),
        recorded=StoredResults(runtime.live_database) if runtime.live_database else None,
        comparisons=comparisons if settings.shadow_share or settings.teacher_share else None,
    )


def build_provider(settings: VisionSettings) -> ProviderDetector:
    if settings.sandbox:
        return SandboxProvider(ServedBy(settings.vision_provider), settings.provider_model)
    connection = settings.connection
    calls = Calls(connection.provider, Breaker(connection.provider.name), seconds=CALL_SECONDS)
    adapter = load_adapter("savo_vision.adapters", settings.adapter, connection.provider)
    provider: ProviderDetector = adapter.connect(connection, calls)
    return provider


DEFINITION = ServiceDefinition(
    "vision",
    VisionSettings,
    build,
    migrations="savo_vision.migrations",
    projection=PROJECTION,
)
