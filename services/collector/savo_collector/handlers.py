"""Kafka handlers: a confirmed scan becomes a sample or a rejection, an erased scan or subject loses its samples.

Consents are stored for later confirmations.
"""

from __future__ import annotations

from savo_collector.collection import CollectSample
from savo_collector.erasure import SampleErasure
from savo_collector.ports import SampleDatabase
from savo_contracts.samples import SampleRejected, SampleStored
from savo_contracts.scans import ScanConfirmed, ScanErased
from savo_contracts.topics import (
    CONSENT_CHANGED,
    SAMPLES_ERASED,
    SAMPLES_REJECTED,
    SAMPLES_STORED,
    SCANS_CONFIRMED,
    SCANS_ERASED,
    SUBJECTS_ERASED,
    TRAINING_THRESHOLD_REACHED,
)
from savo_contracts.users import ConsentChanged, SubjectErased
from savo_runtime.messaging.consuming.subscriptions import Subscription, bind, consumes, publishes

__all__ = ["subscriptions"]

_CONCURRENCY = 8


# `samples.erased` and `training.threshold-reached` go through the outbox, in the transaction that changes the samples.
@consumes(SCANS_CONFIRMED)
@publishes(SAMPLES_STORED, SAMPLES_REJECTED, SAMPLES_ERASED, TRAINING_THRESHOLD_REACHED)
async def on_scan_confirmed(confirmed: ScanConfirmed, collect: CollectSample) -> SampleStored | SampleRejected | None:
    return await collect(confirmed)


@consumes(SCANS_ERASED)
@publishes(SAMPLES_ERASED)
async def on_scan_erased(erased: ScanErased, erasure: SampleErasure) -> None:
    await erasure.erase_scan(erased)


@consumes(SUBJECTS_ERASED)
@publishes(SAMPLES_ERASED)
async def on_subject_erased(erased: SubjectErased, erasure: SampleErasure) -> None:
    await erasure.erase_subject(erased)


@consumes(CONSENT_CHANGED)
async def on_consent_changed(changed: ConsentChanged, database: SampleDatabase) -> None:
    async with database.transaction() as transaction:
        await transaction.record_consent(changed)


def subscriptions(collect: CollectSample) -> list[Subscription]:
    """The routing table."""
    return [
        bind(on_scan_confirmed, concurrency=_CONCURRENCY, collect=collect),
        bind(on_scan_erased, erasure=collect.erasure),
        bind(on_subject_erased, erasure=collect.erasure),
        bind(on_consent_changed, database=collect.writer.database),
    ]
