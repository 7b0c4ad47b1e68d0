"""Scans requested → completed or failed; rollout changes → routing; scans and people erased → forgotten."""

from __future__ import annotations

from savo_contracts.rollout import RolloutChanged
from savo_contracts.scans import ScanCompleted, ScanErased, ScanFailed, ScanRequested
from savo_contracts.topics import (
    ROLLOUT_CHANGED,
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
from savo_vision.ports import Results
from savo_vision.routing_updates import Steering
from savo_vision.scan_pipeline import Scan

__all__ = ["on_scan_erased", "on_scan_requested", "on_subject_erased", "snapshots", "subscriptions"]


@consumes(SCANS_REQUESTED)
@publishes(SCANS_COMPLETED, SCANS_FAILED)
async def on_scan_requested(
    requested: ScanRequested, scan: Scan, replay: str | None
) -> ScanCompleted | ScanFailed | None:
    return await scan(requested, replayed=replay is not None)


@consumes(SCANS_ERASED)
async def on_scan_erased(erased: ScanErased, results: Results) -> None:
    await results.erase_scan(erased.scan_id, erased.erased_at)


@consumes(SUBJECTS_ERASED)
async def on_subject_erased(erased: SubjectErased, results: Results) -> None:
    await results.erase_subject(erased.subject, erased.erased_at)


@consumes(ROLLOUT_CHANGED)
async def on_rollout_changed(changed: RolloutChanged, steering: Steering) -> None:
    steering.take(changed)


def subscriptions(scan: Scan, results: Results, kinds: Kinds) -> list[Subscription]:
    """The routing table. `kinds`: of scans, by the detector that they ask."""
    return [
        bind(on_scan_requested, kinds=kinds, scan=scan),
        bind(on_scan_erased, results=results),
        bind(on_subject_erased, results=results),
    ]


def snapshots(steering: Steering) -> list[Snapshot]:
    """The topics that each replica reads whole."""
    return [read_snapshot(on_rollout_changed, steering=steering)]
