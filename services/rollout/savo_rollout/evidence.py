"""What scans tell about the two arms of the running experiment, by `assigned_arm` (intention to treat).

An arm answers for every scan assigned to it, whoever answered in the end. One exception: a scan that fell back because no model was loaded
(`model-unavailable`) says nothing about the model and is no evidence; a candidate that never serves must not climb on the provider's merits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from savo_contracts import figures
from savo_contracts.scans import Action, Arm, FallbackReason, ScanCompleted, ScanConfirmed, ScanFailed, ServedBy
from savo_rollout.confidence_sequences import Values

__all__ = ["ArmEvidence", "ConfirmedScan", "EndedScan", "Limits", "Measure", "completed_scan", "confirmed_scan", "failed_scan"]


class Measure(StrEnum):
    """What an arm is judged by. A subject's value of each is scaled to 0…1."""

    ACCURACY = "accuracy"
    CORRECTION_RATE = "correction_rate"
    LATENCY = "latency_p95_ms"
    """1 when the answer took longer than the limit: p95 is below the limit exactly when that happens to fewer than 5 % of scans."""
    COST = "cost_usd"
    """Dollars ÷ the cap; a dearer scan counts as the cap."""
    FAILURES = "failures"


@dataclass(frozen=True)
class Limits:
    """What turns a scan into values."""

    latency_ms: float = figures.TARGETS.latency_p95_ms
    cost_cap_usd: float = figures.REFERENCE_COST_USD
    """A bounded mean needs a bound; the owner's figure for one scan by the paid provider is the dearest that one scan should be."""


@dataclass(frozen=True)
class EndedScan:
    """A scan that was answered or failed."""

    scan_id: str
    subject: str
    experiment: str
    arm: Arm
    latency_ms: float
    cost_usd: float
    failed: bool = False
    by_candidate: bool = False

    def values(self, limits: Limits) -> dict[Measure, float]:
        """A failed scan has no latency: the gate on failures answers for it."""
        slow = {} if self.failed else {Measure.LATENCY: float(self.latency_ms > limits.latency_ms)}
        return slow | {Measure.COST: round(min(1.0, self.cost_usd / limits.cost_cap_usd), 4), Measure.FAILURES: float(self.failed)}


@dataclass(frozen=True)
class ConfirmedScan:
    """A scan that its user looked at; of one scan the newest revision counts."""

    scan_id: str
    subject: str
    experiment: str
    arm: Arm
    kept: int
    counted: int
    edited: bool
    revision: int

    def values(self, _limits: Limits) -> dict[Measure, float]:
        """Without an item that counts there is no accuracy."""
        corrections = {Measure.CORRECTION_RATE: float(self.edited)}
        return corrections | ({Measure.ACCURACY: round(self.kept / self.counted, 4)} if self.counted else {})


@dataclass(frozen=True)
class ArmEvidence:
    """One arm's figures so far. `first` holds each subject's first value in the experiment, `step` its first value in the present step."""

    scans: int = 0
    failed: int = 0
    confirmed: int = 0
    edited: int = 0
    kept: int = 0
    counted: int = 0
    subjects: int = 0
    cost_usd: float = 0.0
    """Sum over scans."""
    latency_p95_ms: float | None = None
    by_candidate: int = 0
    confirmed_in_step: int = 0
    first: dict[Measure, Values] = field(default_factory=dict)
    step: dict[Measure, Values] = field(default_factory=dict)

    @property
    def fallback_share(self) -> float | None:
        """Of the answered scans, those that the candidate did not answer itself; None before the first."""
        answered = self.scans - self.failed
        return 1 - self.by_candidate / answered if answered else None

    def estimate(self, measure: Measure) -> float | None:
        """Over all scans of the arm, in the measure's own unit; None before the first."""
        match measure:
            case Measure.ACCURACY:
                return self.kept / self.counted if self.counted else None
            case Measure.CORRECTION_RATE:
                return figures.correction_rate(self.edited, self.confirmed) if self.confirmed else None
            case Measure.LATENCY:
                return self.latency_p95_ms
            case Measure.COST:
                return self.cost_usd / self.scans if self.scans else None
            case Measure.FAILURES:
                return self.failed / self.scans if self.scans else None


def completed_scan(event: ScanCompleted) -> EndedScan | None:
    """None when the scan is no evidence: outside any experiment, or no model was loaded to be judged."""
    if event.experiment is None or event.fallback_reason is FallbackReason.MODEL_UNAVAILABLE:
        return None
    by_candidate = event.served_by is ServedBy.CUSTOM and event.model_version == event.experiment
    return EndedScan(event.scan_id, event.subject, event.experiment, event.assigned_arm, event.duration_ms, event.cost_usd, by_candidate=by_candidate)


def failed_scan(event: ScanFailed) -> EndedScan | None:
    """None when it failed before an arm was chosen."""
    if event.experiment is None or event.assigned_arm is None:
        return None
    waited = figures.latency_ms(event.requested_at, event.failed_at)
    return EndedScan(event.scan_id, event.subject, event.experiment, event.assigned_arm, waited, event.cost_usd, failed=True)


def confirmed_scan(event: ScanConfirmed) -> ConfirmedScan | None:
    """None when the scan is no evidence. May come before the scan's completion."""
    if event.experiment is None or event.fallback_reason is FallbackReason.MODEL_UNAVAILABLE:
        return None
    counted = [item for item in event.items if item.action is not Action.MOVED]
    kept = sum(item.action is Action.KEPT for item in counted)
    edited = figures.is_edited(event.items)
    return ConfirmedScan(event.scan_id, event.subject, event.experiment, event.assigned_arm, kept, len(counted), edited, event.revision)
