"""When there is enough new to train again: by number, or by age."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from savo_collector.ports import Counts, Ledger, Transaction
from savo_contracts.envelope import named_id
from savo_contracts.training import TrainingThresholdReached

__all__ = ["TrainingPolicy", "check_thresholds", "publish_if_reached", "with_new_sample", "without_sample"]


@dataclass(frozen=True)
class TrainingPolicy:
    threshold: int = 10_000
    """New samples that call for a run."""
    every: timedelta = timedelta(days=30)
    """After this long, any new sample calls for one."""


def with_new_sample(counts: Counts, size: int, now: datetime) -> Counts:
    """`size` in bytes. The age rule counts from the first sample on."""
    return replace(
        counts,
        samples=counts.samples + 1,
        bytes=counts.bytes + size,
        fresh=counts.fresh + 1,
        counting_since=counts.counting_since or now,
    )


def without_sample(counts: Counts, size: int, crossing: int) -> Counts:
    """`crossing` is how many calls there had been when the sample came: only one that is still new is taken off the new ones."""
    fresh = counts.fresh - (crossing == counts.crossings)
    return replace(counts, samples=max(0, counts.samples - 1), bytes=max(0, counts.bytes - size), fresh=max(0, fresh))


async def publish_if_reached(transaction: Transaction, policy: TrainingPolicy, now: datetime) -> bool:
    """Within the transaction that changed the counts, so that each crossing is told exactly once. True when it was."""
    counts = await transaction.counts()
    reason = _reason(counts, policy, now)
    if reason is None:
        return False
    event = TrainingThresholdReached(
        dataset=counts.dataset,
        reason=reason,
        new_samples=counts.fresh,
        total_samples=counts.samples,
        threshold=policy.threshold,
        reached_at=now,
    )
    await transaction.publish(event, _crossing_id(counts))
    await transaction.set_counts(replace(counts, fresh=0, crossings=counts.crossings + 1, counting_since=now))
    return True


async def check_thresholds(ledger: Ledger, policy: TrainingPolicy, now: datetime) -> bool:
    """The timer's question. The rule by number is asked too: the threshold may have been lowered since the last sample."""
    async with ledger.transaction() as transaction:
        return await publish_if_reached(transaction, policy, now)


def _reason(counts: Counts, policy: TrainingPolicy, now: datetime) -> Literal["samples", "age"] | None:
    if counts.fresh >= policy.threshold:
        return "samples"
    if counts.fresh and counts.counting_since and now - counts.counting_since >= policy.every:
        return "age"
    return None


def _crossing_id(counts: Counts) -> UUID:
    return named_id(f"training-threshold/{counts.dataset}/{counts.crossings + 1}")
