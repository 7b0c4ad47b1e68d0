"""Kafka handlers of the trainer: they record requested runs and keep the index of samples.

A training takes hours, so the handler only records the run. `runs/run_worker.py` does the work.
"""

from __future__ import annotations

from uuid import UUID

from savo_contracts.documents import sample_labels_key
from savo_contracts.samples import SampleErased, SampleStored
from savo_contracts.topics import SAMPLES_ERASED, SAMPLES_STORED, TRAINING_THRESHOLD_REACHED
from savo_contracts.training import TrainingThresholdReached
from savo_runtime.messaging.consuming.subscriptions import Subscription, bind, consumes
from savo_trainer.ports import IndexedSample, LabelErasure, RunStore, SampleIndex
from savo_trainer.runs.run import run_for_event

__all__ = ["on_sample_erased", "on_sample_stored", "on_threshold_reached", "subscriptions"]


@consumes(TRAINING_THRESHOLD_REACHED)
async def on_threshold_reached(
    reached: TrainingThresholdReached, run_store: RunStore, event_id: UUID, replay: str | None
) -> None:
    if replay is None:  # a replayed event starts no training, which takes hours
        await run_store.request(run_for_event(event_id, reached))


@consumes(SAMPLES_STORED)
async def on_sample_stored(stored: SampleStored, samples: SampleIndex) -> None:
    await samples.record(
        IndexedSample(
            sha256=stored.sha256,
            dataset=stored.dataset,
            split=stored.split,
            subject=stored.subject,
            image_key=stored.image.key,
            labels_key=sample_labels_key(stored.sha256),
            revision=stored.revision,
            labels=stored.labels,
            stored_at=stored.stored_at,
        )
    )


@consumes(SAMPLES_ERASED)
async def on_sample_erased(erased: SampleErased, samples: SampleIndex, labels: LabelErasure) -> None:
    await samples.erase(erased.sha256, erased.erased_at)
    if await samples.erased([erased.sha256]):  # not where the photo was stored again since
        await labels.erase(erased.sha256)


def subscriptions(run_store: RunStore, samples: SampleIndex, labels: LabelErasure) -> list[Subscription]:
    """Routing table of the consumed topics. The events of a run's end go through the outbox instead."""
    return [
        bind(on_threshold_reached, run_store=run_store),
        bind(on_sample_stored, samples=samples),
        bind(on_sample_erased, samples=samples, labels=labels),
    ]
