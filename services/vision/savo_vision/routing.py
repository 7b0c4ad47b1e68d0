"""Which arm answers a scan: sticky, monotone, the operator's hand first.

A subject's bucket depends on the experiment and on nothing else, so a person stays in their arm from scan to scan, a growing
share never moves anyone back, and each experiment draws other people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import xxhash

from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutChanged
from savo_contracts.scans import Arm

__all__ = ["BUCKETS", "Choice", "Router", "RoutingPolicy", "bucket_of", "is_within"]

BUCKETS = 10_000


def bucket_of(experiment: str | None, subject: str) -> int:
    """0…9999, even over subjects and independent between experiments."""
    return xxhash.xxh64_intdigest(f"{experiment or ''}/{subject}".encode()) % BUCKETS


def is_within(bucket: int, share: float) -> bool:
    """Whether a bucket belongs to the share; a larger share keeps all buckets of a smaller one."""
    # Rounded, because 0.29 × 10 000 is 2899.9999999999995 in binary.
    return bucket < round(share * BUCKETS)


@dataclass(frozen=True)
class RoutingPolicy:
    """The operator's word: `use_custom` False keeps every scan with the provider, `pinned_share` overrules the rollout."""

    use_custom: bool = False
    pinned_share: float | None = None
    own_model: str | None = None
    """Path of the operator's own model; with a pin it is the candidate."""
    pins: Mapping[str, Arm] = field(default_factory=dict)
    """Subjects that support keeps in one arm. They are no evidence: their scans name no experiment."""


@dataclass(frozen=True)
class Choice:
    """One scan's arm and why. `custom` names the model that should answer; None means the provider."""

    experiment: str | None
    arm: Arm
    bucket: int
    share: float
    custom: str | None
    champion: str | None = None
    """Who answers when the candidate cannot; None means the provider."""


class Router:
    """Holds the routing decision in force. With the rollout service stopped it keeps the last one; before the first, all goes to the provider."""

    def __init__(self, policy: RoutingPolicy) -> None:
        self.policy = policy
        self.decision: RolloutChanged | None = None
        self.own_version: str | None = None
        """Set when the operator's own model is loaded; until then its path names it."""

    def adopt(self, decision: RolloutChanged) -> bool:
        """False for a stale one."""
        if self.decision is not None and decision.sequence < self.decision.sequence:
            return False
        self.decision = decision
        return True

    @property
    def candidate(self) -> str | None:
        if not self.policy.use_custom:
            return None
        if self.policy.pinned_share is not None and self.policy.own_model:
            return self.own_version or self.policy.own_model
        return _version(self.decision.candidate) if self.decision else None

    @property
    def champion(self) -> str | None:
        return _version(self.decision.champion) if self.decision and self.policy.use_custom else None

    @property
    def share(self) -> float:
        """Candidate's share of traffic, 0…1."""
        if self.candidate is None:
            return 0.0
        if self.policy.pinned_share is not None:
            return self.policy.pinned_share
        return self.decision.share if self.decision else 0.0

    def choose(self, subject: str) -> Choice:
        # Without a candidate there is one arm, also for those who are pinned to the other.
        pinned = self.policy.pins.get(subject) if self.candidate else None
        bucket = bucket_of(self.candidate, subject)
        arm = pinned or (Arm.CANDIDATE if is_within(bucket, self.share) else Arm.BASELINE)
        custom = self.candidate if arm is Arm.CANDIDATE else self.champion
        return Choice(None if pinned else self.candidate, arm, bucket, self.share, custom, self.champion)


def _version(ref: ModelRef | None) -> str | None:
    return ref.version if ref else None
