"""Training threshold: enough new samples, or new samples and enough time, publish `training.threshold-reached`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from savo_collector.ports import Counts, SampleDatabase, Transaction
from savo_contracts.envelope import named_id
from savo_contracts.training import TrainingThresholdReached

__all__ = ["TrainingPolicy", "check_thresholds", "publish_if_reached", "with_new_sample", "without_sample"]


@dataclass(frozen=True)
class TrainingPolicy:
    """When a training run is due."""

    threshold: int = 10_000
    """New samples since the last run was due."""
    every: timedelta = timedelta(days=30)
    """Time after which one new sample is enough."""


def with_new_sample(counts: Counts, size: int, now: datetime) -> Counts:
    """The counts after a sample of `size` bytes was stored. The first sample starts the time of `policy.every`."""
    return replace(
        counts,
        samples=counts.samples + 1,
        bytes=counts.bytes + size,
        new_samples=counts.new_samples + 1,
        counting_since=counts.counting_since or now,
    )


def without_sample(counts: Counts, size: int, crossing: int) -> Counts:
    """The counts after a sample of `size` bytes was deleted. `crossing` is the sample's own.

    A sample from before the last crossing is not among the new samples, so their number stays.
    """
    new_samples = counts.new_samples - (crossing == counts.threshold_count)
    return replace(
        counts, samples=max(0, counts.samples - 1), bytes=max(0, counts.bytes - size), new_samples=max(0, new_samples)
    )


async def publish_if_reached(transaction: Transaction, policy: TrainingPolicy, now: datetime) -> bool:
    """Publish the event when a threshold is reached. Returns whether it was.

    Call it in the transaction that changed the counts: then each crossing is published exactly once.
    """
    counts = await transaction.counts()
    reason = _reason(counts, policy, now)
    if reason is None:
        return False
    event = TrainingThresholdReached(
        dataset=counts.dataset,
        reason=reason,
        new_samples=counts.new_samples,
        total_samples=counts.samples,
        threshold=policy.threshold,
        reached_at=now,
    )
    await transaction.publish(event, _crossing_id(counts))
    await transaction.set_counts(
        replace(counts, new_samples=0, threshold_count=counts.threshold_count + 1, counting_since=now)
    )
    return True


async def check_thresholds(database: SampleDatabase, policy: TrainingPolicy, now: datetime) -> bool:
    """For the timer, in a transaction of its own: time passes, and an operator may lower the threshold."""
    async with database.transaction() as transaction:
        return await publish_if_reached(transaction, policy, now)


def _reason(counts: Counts, policy: TrainingPolicy, now: datetime) -> Literal["samples", "age"] | None:
    if counts.new_samples >= policy.threshold:
        return "samples"
    if counts.new_samples and counts.counting_since and now - counts.counting_since >= policy.every:
        return "age"
    return None


def _crossing_id(counts: Counts) -> UUID:
    return named_id(f"training-threshold/{counts.dataset}/{counts.threshold_count + 1}")
