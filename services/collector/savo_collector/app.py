"""Composition root of the collector: reads the settings, and connects each port with its adapter."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from savo_collector.adapters.photos import StoredPhotos
from savo_collector.adapters.projection import PROJECTION
from savo_collector.adapters.sample_database import SqlSampleDatabase
from savo_collector.adapters.sample_objects import SampleObjects
from savo_collector.class_registry import ClassPolicy, ClassRegistry
from savo_collector.collection import CollectionPolicy, CollectSample
from savo_collector.erasure import SampleErasure
from savo_collector.handlers import subscriptions
from savo_collector.pending_samples import PendingSamples
from savo_collector.sample_writer import SampleWriter
from savo_collector.settings import CollectorSettings
from savo_collector.thresholds import TrainingPolicy, check_thresholds
from savo_detection.photos.quality import QualityPolicy
from savo_runtime.service import Runtime, Service, ServiceDefinition, Worker

TIMER_SECONDS = 60.0
GAUGE_SECONDS = 15.0


def build(settings: CollectorSettings, runtime: Runtime) -> Service:
    """The collector, ready to be run."""
    database = SqlSampleDatabase(runtime.database, runtime.outbox)
    training = TrainingPolicy(settings.training_threshold, timedelta(days=settings.retrain_every_days))
    collect = build_collect(settings, runtime, database, training)
    pending = PendingSamples(database, replace(collect, writer=replace(collect.writer, publish_events=True)))

    async def check_training_age() -> None:
        await check_thresholds(database, training, runtime.clock())

    return Service(
        name="collector",
        subscriptions=subscriptions(collect),
        workers=[
            Worker("training-timer", check_training_age, every=TIMER_SECONDS),
            Worker("pending-samples", pending.retry, every=TIMER_SECONDS),
            Worker("gauges", collect.writer.update_storage_gauges, every=GAUGE_SECONDS),
        ],
    )


def build_collect(
    settings: CollectorSettings, runtime: Runtime, database: SqlSampleDatabase, training: TrainingPolicy
) -> CollectSample:
    samples = SampleObjects(runtime.store)
    limit = None if settings.storage_limit_gb is None else int(settings.storage_limit_gb * 1e9)
    return CollectSample(
        photos=StoredPhotos(runtime.store),
        classes=ClassRegistry(runtime.store, database, ClassPolicy(settings.class_users, settings.class_samples)),
        writer=SampleWriter(database, samples, training, runtime.clock, limit),
        erasure=SampleErasure(database, samples, runtime.clock),
        clock=runtime.clock,
        policy=CollectionPolicy(settings.collect_training_data, settings.require_consent),
        quality=QualityPolicy(
            min_side=settings.min_side,
            max_noise=settings.max_noise,
            max_clipped=settings.max_clipped,
            min_mean_luma=settings.min_mean_luma,
            min_bright_luma=settings.min_bright_luma,
            min_contrast=settings.min_contrast,
            min_sharpness=settings.min_sharpness,
            min_detail=settings.min_detail,
        ),
    )


DEFINITION = ServiceDefinition(
    "collector",
    CollectorSettings,
    build,
    migrations="savo_collector.migrations",
    projection=PROJECTION,
)
