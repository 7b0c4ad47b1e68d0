"""Metrics of finished scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from savo_contracts.scans import ScanCompleted
from savo_runtime.telemetry.metrics import ARM_COST, FALLBACKS, SCAN_COST, SCAN_DURATION, SCANS
from savo_vision.ports import Finished

__all__ = ["record_metrics"]

NONE = "none"


def record_metrics(finished: Finished, stages: Mapping[str, float], spent: Sequence[tuple[str, float]]) -> None:
    """Record one scan. `stages` are seconds by stage (decode, detect, provider), `spent` is (provider, US dollars)."""
    done = isinstance(finished, ScanCompleted)
    arm = finished.assigned_arm.value if finished.assigned_arm else NONE
    served_by, version = (
        (finished.served_by, finished.model_version) if isinstance(finished, ScanCompleted) else (NONE, NONE)
    )
    SCANS.labels(arm, served_by, version, "completed" if done else finished_code(finished)).inc()
    for stage, seconds in stages.items():
        SCAN_DURATION.labels(arm, served_by, stage).observe(seconds)
    if isinstance(finished, ScanCompleted):
        SCAN_DURATION.labels(arm, served_by, "total").observe(finished.duration_ms / 1000)
        if finished.fallback_reason:
            FALLBACKS.labels(finished.fallback_reason).inc()
    purpose = "fallback" if isinstance(finished, ScanCompleted) and finished.fallback_reason else "answer"
    if finished.cost_usd:
        ARM_COST.labels(arm).inc(finished.cost_usd)
    for provider, usd in spent:
        SCAN_COST.labels(provider, purpose).inc(usd)


def finished_code(finished: Finished) -> str:
    return "completed" if isinstance(finished, ScanCompleted) else finished.code
