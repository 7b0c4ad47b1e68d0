"""Handlers of vision's topics. The routing table is at the end."""

from __future__ import annotations

from savo_contracts.rollout import RolloutChanged
from savo_contracts.samples import BoxesProposed, SampleRejected
from savo_contracts.scans import ScanCompleted, ScanErased, ScanFailed, ScanRequested
from savo_contracts.topics import (
    BOXES_PROPOSED,
    ROLLOUT_CHANGED,
    SAMPLES_REJECTED,
    SCANS_COMPLETED,
    SCANS_ERASED,
    SCANS_FAILED,
    SCANS_REQUESTED,
    SUBJECTS_ERASED,
)
from savo_contracts.users import SubjectErased
from savo_runtime.messaging.consuming.subscriptions import (
    Kinds,
    Snapshot,
    Subscription,
    bind,
    consumes,
    publishes,
    read_snapshot,
)
from savo_vision.box_proposals import ProposeBoxes
from savo_vision.ports import Results
from savo_vision.routing_updates import RoutingUpdates
from savo_vision.scan_pipeline import ScanPipeline

__all__ = [
    "on_sample_rejected",
    "on_scan_erased",
    "on_scan_requested",
    "on_subject_erased",
    "snapshots",
    "subscriptions",
]


@consumes(SCANS_REQUESTED)
@publishes(SCANS_COMPLETED, SCANS_FAILED)
async def on_scan_requested(
    requested: ScanRequested, pipeline: ScanPipeline, replay: str | None
) -> ScanCompleted | ScanFailed | None:
    return await pipeline(requested, replayed=replay is not None)


@consumes(SCANS_ERASED)
async def on_scan_erased(erased: ScanErased, results: Results) -> None:
    await results.erase_scan(erased.scan_id, erased.erased_at)


@consumes(SUBJECTS_ERASED)
async def on_subject_erased(erased: SubjectErased, results: Results) -> None:
    await results.erase_subject(erased.subject, erased.erased_at)


@consumes(SAMPLES_REJECTED)
@publishes(BOXES_PROPOSED)
async def on_sample_rejected(rejected: SampleRejected, propose: ProposeBoxes) -> BoxesProposed | None:
    return await propose(rejected)


@consumes(ROLLOUT_CHANGED)
async def on_rollout_changed(changed: RolloutChanged, routing_updates: RoutingUpdates) -> None:
    routing_updates.receive(changed)


def subscriptions(pipeline: ScanPipeline, results: Results, kinds: Kinds, propose: ProposeBoxes) -> list[Subscription]:
    """The routing table. `kinds` groups scans by the detector that they ask first."""
    return [
        bind(on_scan_requested, kinds=kinds, pipeline=pipeline),
        bind(on_scan_erased, results=results),
        bind(on_subject_erased, results=results),
        bind(on_sample_rejected, propose=propose),
    ]


def snapshots(routing_updates: RoutingUpdates) -> list[Snapshot]:
    """Compacted topics that each replica reads from the start."""
    return [read_snapshot(on_rollout_changed, routing_updates=routing_updates)]
