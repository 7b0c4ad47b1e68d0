"""Which answers the app should ask its user to confirm, so that few confirmations teach as much as possible.

An answer is decided once, when it is stored, by a number that is drawn from the scan's id: every replica and every
repeat draws the same one.

random               every answer has the same chance. What is confirmed then stands for all scans.
close_to_threshold   answers near the confidence threshold and with rare classes have a greater chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

from savo_contracts.scans import ScanCompleted
from savo_gateway.ports import ClassCounts
from savo_gateway.scans.records import AskLimits

__all__ = ["AskPolicy", "AskRule", "ConfirmationAsks", "drawn_number", "weight_of"]

DEFAULT_THRESHOLD = 0.6
"""Of answers without a threshold, because no model of our own was run."""

RARE_BOXES = 500
"""A class with fewer collected boxes is rare."""

LEAST_WEIGHT = 0.05
COUNTS_KEPT = timedelta(minutes=10)
MEMORY = 200
"""Number of answers that the mean weight is of, roughly."""


class AskRule(StrEnum):
    """How the answers are chosen."""

    RANDOM = "random"
    CLOSE_TO_THRESHOLD = "close_to_threshold"


@dataclass(frozen=True)
class AskPolicy:
    """Which share of the answers is asked about, and the most in a minute and in a day (UTC)."""

    rule: AskRule
    share: float
    limits: AskLimits


@dataclass
class ConfirmationAsks:
    """Decides about answers, one at a time."""

    policy: AskPolicy
    counts: ClassCounts
    clock: Callable[[], datetime]
    _mean_weight: float = field(default=0.5, init=False)
    _boxes: Mapping[str, int] = field(default_factory=dict, init=False)
    _counted_at: datetime | None = field(default=None, init=False)

    async def limits_for(self, completed: ScanCompleted) -> AskLimits | None:
        """The limits within which the app should ask about this answer; None where it should not ask."""
        share = self.policy.share
        if self.policy.rule is AskRule.CLOSE_TO_THRESHOLD and share:
            weight = weight_of(completed, await self._boxes_by_label())
            self._mean_weight += (weight - self._mean_weight) / MEMORY
            share *= weight / self._mean_weight
        return self.policy.limits if drawn_number(completed.scan_id) < share else None

    async def _boxes_by_label(self) -> Mapping[str, int]:
        now = self.clock()
        if self._counted_at is None or now - self._counted_at >= COUNTS_KEPT:
            self._boxes, self._counted_at = await self.counts.boxes_by_label(), now
        return self._boxes


def drawn_number(scan_id: str) -> float:
    """A number in 0…1 that depends on the scan's id alone, and on nothing that the routing draws from it."""
    return int.from_bytes(sha256(f"ask/{scan_id}".encode()).digest()[:8], "big") / 2**64


def weight_of(completed: ScanCompleted, boxes: Mapping[str, int]) -> float:
    """How much the answer's confirmation would teach: `LEAST_WEIGHT` to 1. `boxes`: collected boxes by label."""
    threshold = completed.threshold or DEFAULT_THRESHOLD
    closeness = _closeness((item.confidence for item in completed.items), threshold)
    rarity = max((_rarity(boxes.get(item.label, 0)) for item in completed.items), default=0.0)
    return max(LEAST_WEIGHT, (closeness + rarity) / 2)


def _closeness(confidences: Iterable[float], threshold: float) -> float:
    """1 for an item whose confidence is the threshold, 0 for the greatest possible distance."""
    widest = max(threshold, 1 - threshold)
    return max((1 - abs(confidence - threshold) / widest for confidence in confidences), default=0.0)


def _rarity(boxes: int) -> float:
    return max(0.0, 1 - boxes / RARE_BOXES)
