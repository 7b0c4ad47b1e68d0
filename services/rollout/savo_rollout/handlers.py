"""Handlers of the rollout's topics. The routing table is at the end."""

from __future__ import annotations

from uuid import UUID

from savo_contracts.models import ModelRefused, ModelRegistered
from savo_contracts.scans import ScanCompleted, ScanConfirmed, ScanErased, ScanFailed
from savo_contracts.topics import (
    AUDIT_RECORDED,
    MODELS_REFUSED,
    MODELS_REGISTERED,
    ROLLOUT_CHANGED,
    SCANS_COMPLETED,
    SCANS_CONFIRMED,
    SCANS_ERASED,
    SCANS_FAILED,
    SUBJECTS_ERASED,
)
from savo_contracts.users import SubjectErased
from savo_rollout.evidence import completed_scan, confirmed_scan, failed_scan
from savo_rollout.evidence_recorder import EvidenceRecorder
from savo_rollout.registry import registered_model
from savo_rollout.rollout import Rollout
from savo_runtime.messaging.consuming.subscriptions import Subscription, bind, consumes, publishes

__all__ = ["subscriptions"]

_CONCURRENCY = 64
"""Events of a topic that are handled concurrently, so that their scans share a transaction."""


# A handler that publishes does so through the outbox, in the transaction that stores the state. The first scan of a
# model that is pinned by its path opens its experiment.
@consumes(SCANS_COMPLETED)
@publishes(ROLLOUT_CHANGED, AUDIT_RECORDED)
async def on_scan_completed(completed: ScanCompleted, record: EvidenceRecorder) -> None:
    await record(completed_scan(completed))


@consumes(SCANS_FAILED)
@publishes(ROLLOUT_CHANGED, AUDIT_RECORDED)
async def on_scan_failed(failed: ScanFailed, record: EvidenceRecorder) -> None:
    await record(failed_scan(failed))


@consumes(SCANS_CONFIRMED)
@publishes(ROLLOUT_CHANGED, AUDIT_RECORDED)
async def on_scan_confirmed(confirmed: ScanConfirmed, record: EvidenceRecorder) -> None:
    await record(confirmed_scan(confirmed))


@consumes(MODELS_REGISTERED)
@publishes(ROLLOUT_CHANGED, AUDIT_RECORDED)
async def on_model_registered(registered: ModelRegistered, rollout: Rollout) -> None:
    await rollout.register(registered_model(registered))


@consumes(MODELS_REFUSED)
@publishes(ROLLOUT_CHANGED, AUDIT_RECORDED)
async def on_model_refused(refused: ModelRefused, rollout: Rollout, event_id: UUID) -> None:
    await rollout.pause_refused(refused, event_id)


@consumes(SCANS_ERASED)
async def on_scan_erased(erased: ScanErased, rollout: Rollout) -> None:
    await rollout.erase_scan(erased.scan_id)


@consumes(SUBJECTS_ERASED)
async def on_subject_erased(erased: SubjectErased, rollout: Rollout) -> None:
    await rollout.erase_subject(erased.subject)


def subscriptions(rollout: Rollout, record: EvidenceRecorder) -> list[Subscription]:
    """The routing table. `rollout.changed` is published through the outbox, in the transaction of its state."""
    return [
        bind(on_scan_completed, concurrency=_CONCURRENCY, record=record),
        bind(on_scan_failed, concurrency=_CONCURRENCY, record=record),
        bind(on_scan_confirmed, concurrency=_CONCURRENCY, record=record),
        bind(on_model_registered, rollout=rollout),
        bind(on_model_refused, rollout=rollout),
        bind(on_scan_erased, rollout=rollout),
        bind(on_subject_erased, rollout=rollout),
    ]
