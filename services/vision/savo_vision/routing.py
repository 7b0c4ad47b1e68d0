"""Routing: the arm and the model that answer a scan.

A subject's bucket depends only on the experiment and the subject. So a subject stays in its arm from scan to scan, a
growing share moves no subject back, and each experiment draws other subjects. The operator's settings take precedence
over the rollout's decision.
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
    """0…9999, uniform over subjects and independent between experiments."""
    return xxhash.xxh64_intdigest(f"{experiment or ''}/{subject}".encode()) % BUCKETS


def is_within(bucket: int, share: float) -> bool:
    """Whether a bucket belongs to the share; a larger share keeps all buckets of a smaller one."""
    # Rounded, because 0.29 × 10 000 is 2899.9999999999995 in binary.
    return bucket < round(share * BUCKETS)


@dataclass(frozen=True)
class RoutingPolicy:
    """The operator's settings."""

    use_custom: bool = False
    """False sends every scan to the provider."""
    pinned_share: float | None = None
    """Candidate's share of traffic, 0…1, instead of the rollout's."""
    operator_model: str | None = None
    """Path of the operator's model. With a pinned share it is the candidate."""
    pins: Mapping[str, Arm] = field(default_factory=dict)
    """Subjects that support keeps in one arm. Their scans belong to no experiment, so they are no evidence."""


@dataclass(frozen=True)
class Choice:
    """One scan's arm, with the facts that led to it."""

    experiment: str | None
    arm: Arm
    bucket: int
    share: float
    model_version: str | None
    """Version of the model that should answer; None means the provider."""
    champion: str | None = None
    """Version of the model that answers when the candidate cannot; None means the provider."""


class Router:
    """Chooses arms by the decision in force: the last one received from the rollout service.

    Before the first decision every scan goes to the provider.
    """

    def __init__(self, policy: RoutingPolicy) -> None:
        self.policy = policy
        self.decision: RolloutChanged | None = None
        self.operator_model_version: str | None = None
        """Set when the operator's model is loaded. Before that its path identifies it."""

    def adopt(self, decision: RolloutChanged) -> bool:
        """Put a decision in force. False for a stale one, which changes nothing."""
        if self.decision is not None and decision.sequence < self.decision.sequence:
            return False
        self.decision = decision
        return True

    @property
    def candidate(self) -> str | None:
        """Version of the candidate; the path of the operator's model while it is not loaded. None without one."""
        if not self.policy.use_custom:
            return None
        if self.policy.pinned_share is not None and self.policy.operator_model:
            return self.operator_model_version or self.policy.operator_model
        return _version(self.decision.candidate) if self.decision else None

    @property
    def experiment(self) -> str | None:
        """The candidate's version; None until the operator's model is loaded, because its path is no version."""
        return None if self.candidate == self.policy.operator_model else self.candidate

    @property
    def champion(self) -> str | None:
        """Version of the champion; None when the provider is the baseline."""
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
        """The arm of a subject. The same subject gets the same arm until the decision changes."""
        # Without a candidate there is only the baseline, also for subjects that are pinned to the candidate.
        pinned = self.policy.pins.get(subject) if self.candidate else None
        bucket = bucket_of(self.candidate, subject)
        arm = pinned or (Arm.CANDIDATE if is_within(bucket, self.share) else Arm.BASELINE)
        model_version = self.candidate if arm is Arm.CANDIDATE else self.champion
        return Choice(None if pinned else self.experiment, arm, bucket, self.share, model_version, self.champion)


def _version(ref: ModelRef | None) -> str | None:
    return ref.version if ref else None
