"""Kafka handlers: results of scans, and the events that statistics and pages show.

A result also publishes a confirmation that came before it.
"""

from __future__ import annotations

from uuid import UUID

import structlog

from savo_contracts.audit import AuditRecorded
from savo_contracts.models import ModelRegistered
from savo_contracts.recipes import RecipesSuggested
from savo_contracts.rollout import RolloutChanged
from savo_contracts.samples import BoxesProposed, SampleErased, SampleRejected, SampleStored
from savo_contracts.scans import ScanCompleted, ScanFailed
from savo_contracts.topics import (
    AUDIT_RECORDED,
    BOXES_PROPOSED,
    MODELS_REGISTERED,
    RECIPES_SUGGESTED,
    ROLLOUT_CHANGED,
    SAMPLES_ERASED,
    SAMPLES_REJECTED,
    SAMPLES_STORED,
    SCANS_COMPLETED,
    SCANS_CONFIRMED,
    SCANS_FAILED,
    TRAINING_FINISHED,
)
from savo_contracts.training import TrainingFinished
from savo_gateway.ports import AuditLog, Projections, Reviews
from savo_gateway.rollout_mirror import RolloutMirror
from savo_gateway.scans.completion import FinishScans
from savo_runtime.messaging.consuming.subscriptions import (
    Snapshot,
    Subscription,
    bind,
    consumes,
    publishes,
    read_snapshot,
)

__all__ = ["projected", "snapshots", "subscriptions"]

log = structlog.get_logger()


@consumes(SCANS_COMPLETED)
@publishes(SCANS_CONFIRMED)
async def on_scan_completed(completed: ScanCompleted, finish: FinishScans) -> None:
    await finish.complete(completed)


@consumes(SCANS_FAILED)
async def on_scan_failed(failed: ScanFailed, finish: FinishScans) -> None:
    await finish.fail(failed)


@consumes(SAMPLES_STORED)
async def on_sample_stored(stored: SampleStored, projections: Projections) -> None:
    await projections.sample_stored(stored)


@consumes(SAMPLES_REJECTED)
async def on_sample_rejected(rejected: SampleRejected, projections: Projections) -> None:
    await projections.sample_rejected(rejected)


@consumes(SAMPLES_ERASED)
async def on_sample_erased(erased: SampleErased, projections: Projections) -> None:
    await projections.sample_erased(erased)


@consumes(BOXES_PROPOSED)
async def on_boxes_proposed(proposed: BoxesProposed, reviews: Reviews) -> None:
    await reviews.propose(proposed)


@consumes(TRAINING_FINISHED)
async def on_training_finished(finished: TrainingFinished, projections: Projections) -> None:
    await projections.training_finished(finished)


@consumes(MODELS_REGISTERED)
async def on_model_registered(model: ModelRegistered, projections: Projections) -> None:
    await projections.model_registered(model)


@consumes(RECIPES_SUGGESTED)
async def on_recipes_suggested(suggested: RecipesSuggested, projections: Projections) -> None:
    await projections.recipes_suggested(suggested)


@consumes(AUDIT_RECORDED)
async def on_audit_recorded(entry: AuditRecorded, audit_log: AuditLog, event_id: UUID) -> None:
    if await audit_log.add(entry, event_id):
        log.info("audit.recorded", **entry.model_dump(mode="json", exclude_none=True))


@consumes(ROLLOUT_CHANGED)
async def on_rollout_changed(changed: RolloutChanged, mirror: RolloutMirror) -> None:
    mirror.apply(changed)


def subscriptions(
    finish: FinishScans, projections: Projections, audit_log: AuditLog, reviews: Reviews
) -> list[Subscription]:
    """The routing table."""
    return [
        bind(on_scan_completed, finish=finish),
        bind(on_scan_failed, finish=finish),
        bind(on_boxes_proposed, reviews=reviews),
        *projected(projections, audit_log),
    ]


def projected(projections: Projections, audit_log: AuditLog) -> list[Subscription]:
    """The subscriptions from whose topics `savo rebuild` can rebuild the tables."""
    return [
        bind(on_sample_stored, projections=projections),
        bind(on_sample_rejected, projections=projections),
        bind(on_sample_erased, projections=projections),
        bind(on_training_finished, projections=projections),
        bind(on_model_registered, projections=projections),
        bind(on_recipes_suggested, projections=projections),
        bind(on_audit_recorded, audit_log=audit_log),
    ]


def snapshots(mirror: RolloutMirror) -> list[Snapshot]:
    """The compacted topics that each replica reads from the start."""
    return [read_snapshot(on_rollout_changed, mirror=mirror)]
