"""Evidence: figures of scans, by the arm that they were assigned to (intention to treat).

A scan counts for its assigned arm, also when another detector answered it. The exception is a scan that fell back
because no model was loaded (`model-unavailable`): it is no evidence, because a candidate that never serves must not
climb by the provider's results.

`FIGURES` has for each measure the function that reads its figure from a scan's event. The measure's row
(`savo_contracts.measures`) determines the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from savo_contracts import figures
from savo_contracts.measures import ACCURACY, CORRECTION_RATE, COST, FAILURES, LATENCY, Measure
from savo_contracts.scans import (
    Action,
    Arm,
    BoxSource,
    FallbackReason,
    ScanCompleted,
    ScanConfirmed,
    ScanFailed,
    ServedBy,
)
from savo_rollout.confidence_sequences import Values

__all__ = [
    "ESTIMATES",
    "FIGURES",
    "ArmEvidence",
    "ConfirmedScan",
    "EndedScan",
    "completed_scan",
    "confirmed_scan",
    "failed_scan",
]

ScanEvent = ScanCompleted | ScanFailed | ScanConfirmed


@dataclass(frozen=True)
class EndedScan:
    """A scan that was answered or failed."""

    scan_id: str
    subject: str
    experiment: str
    arm: Arm
    figures: Mapping[Measure, float]
    """In each measure's own unit; only measures that the event has a figure of."""
    latency_ms: float
    cost_usd: float
    ended_at: datetime
    failed: bool = False
    answered_by_candidate: bool = False


@dataclass(frozen=True)
class ConfirmedScan:
    """A scan that its user confirmed or corrected. The newest revision counts."""

    scan_id: str
    subject: str
    experiment: str
    arm: Arm
    figures: Mapping[Measure, float]
    kept: int
    counted_items: int
    edited: bool
    revision: int


@dataclass(frozen=True)
class ArmEvidence:
    """One arm's evidence so far: totals over its scans, and for each measure one value per subject.

    Gates use the subjects' values (0…1), because scans of one person are not independent. Totals are for the minimum
    number of confirmed scans in a step, and for estimates over all scans in reports.
    """

    scans: int = 0
    failed: int = 0
    confirmed: int = 0
    edited: int = 0
    kept: int = 0
    counted_items: int = 0
    subjects: int = 0
    cost_usd: float = 0.0
    """Sum over scans."""
    latency_ms: Mapping[int, float | None] = field(default_factory=dict)
    """Quantiles over the answered scans in milliseconds, by percent. Empty except in reports."""
    answered_by_candidate: int = 0
    confirmed_in_step: int = 0
    first_values: Mapping[Measure, Values] = field(default_factory=dict)
    """Each subject's first value in the experiment."""
    step_values: Mapping[Measure, Values] = field(default_factory=dict)
    """Each subject's first value in the present step."""

    @property
    def fallback_share(self) -> float | None:
        """Share of the answered scans that the candidate did not answer itself, 0…1; None before the first."""
        answered = self.scans - self.failed
        return 1 - self.answered_by_candidate / answered if answered else None

    def estimate(self, measure: Measure) -> float | None:
        """The measure's estimate in its own unit; None before the first scan.

        It is over all scans of the arm if `ESTIMATES` has the measure, otherwise the mean over subjects. The bounds are
        always those of the mean over subjects.
        """
        if measure in ESTIMATES:
            return ESTIMATES[measure](self)
        values = self.first_values.get(measure)
        return values.mean * measure.statistic.scale if values is not None and values.mean is not None else None


def completed_scan(event: ScanCompleted) -> EndedScan | None:
    """None when the scan is no evidence: it belongs to no experiment, or no model was loaded."""
    if event.experiment is None or event.fallback_reason == FallbackReason.MODEL_UNAVAILABLE:
        return None
    return EndedScan(
        event.scan_id,
        event.subject,
        event.experiment,
        event.assigned_arm,
        _figures(event),
        event.duration_ms,
        event.cost_usd,
        event.completed_at,
        answered_by_candidate=event.served_by == ServedBy.CUSTOM and event.model_version == event.experiment,
    )


def failed_scan(event: ScanFailed) -> EndedScan | None:
    """None when the scan failed before an arm was chosen."""
    if event.experiment is None or event.assigned_arm is None:
        return None
    return EndedScan(
        event.scan_id,
        event.subject,
        event.experiment,
        event.assigned_arm,
        _figures(event),
        figures.latency_ms(event.requested_at, event.failed_at),
        event.cost_usd,
        event.failed_at,
        failed=True,
    )


def confirmed_scan(event: ScanConfirmed) -> ConfirmedScan | None:
    """None when the scan is no evidence. May arrive before the scan's completion.

    The decision of an engineer is none: it says what the photo shows, but not what its user had to correct.
    """
    if event.experiment is None or event.fallback_reason == FallbackReason.MODEL_UNAVAILABLE:
        return None
    if any(item.box_source == BoxSource.ENGINEER for item in event.items):
        return None
    counted_items = [item for item in event.items if item.action is not Action.MOVED]
    return ConfirmedScan(
        event.scan_id,
        event.subject,
        event.experiment,
        event.assigned_arm,
        _figures(event),
        kept=sum(item.action is Action.KEPT for item in counted_items),
        counted_items=len(counted_items),
        edited=figures.is_edited(event.items),
        revision=event.revision,
    )


def _figures(event: ScanEvent) -> dict[Measure, float]:
    read = {measure: figure(event) for measure, figure in FIGURES.items()}
    return {measure: figure for measure, figure in read.items() if figure is not None}


def _accuracy(event: ScanEvent) -> float | None:
    """None when no item counts."""
    return figures.accuracy(event.items) if isinstance(event, ScanConfirmed) else None


def _correction(event: ScanEvent) -> float | None:
    return float(figures.is_edited(event.items)) if isinstance(event, ScanConfirmed) else None


def _latency(event: ScanEvent) -> float | None:
    """None for a failed scan, which counts in the failure rate."""
    return event.duration_ms if isinstance(event, ScanCompleted) else None


def _cost(event: ScanEvent) -> float | None:
    return event.cost_usd if isinstance(event, ScanCompleted | ScanFailed) else None


def _failure(event: ScanEvent) -> float | None:
    return float(isinstance(event, ScanFailed)) if isinstance(event, ScanCompleted | ScanFailed) else None


FIGURES: Mapping[Measure, Callable[[ScanEvent], float | None]] = {
    ACCURACY: _accuracy,
    CORRECTION_RATE: _correction,
    LATENCY: _latency,
    COST: _cost,
    FAILURES: _failure,
}
"""Function that reads a measure's figure from a scan's event, in the measure's unit. None when the event has none."""

ESTIMATES: Mapping[Measure, Callable[[ArmEvidence], float | None]] = {
    ACCURACY: lambda arm: arm.kept / arm.counted_items if arm.counted_items else None,
    CORRECTION_RATE: lambda arm: figures.correction_rate(arm.edited, arm.confirmed) if arm.confirmed else None,
    LATENCY: lambda arm: arm.latency_ms.get(95),
    COST: lambda arm: arm.cost_usd / arm.scans if arm.scans else None,
    FAILURES: lambda arm: arm.failed / arm.scans if arm.scans else None,
}
"""Function that computes a measure's estimate over all scans, for measures that the database has totals of."""
