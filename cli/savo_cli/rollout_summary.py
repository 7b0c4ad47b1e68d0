"""The rollout in one sentence: its state, and what answers scans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["rollout_summary", "traffic_summary"]


def rollout_summary(report: Mapping[str, Any]) -> str:
    """From the document of GET /admin/rollout."""
    champion = (report.get("champion") or {}).get("version") or "the vision provider"
    candidate = _candidate(report)
    if candidate is None:
        return f"{report['state']}: {champion} answers everything"
    return f"{report['state']}: {candidate} at {report['share']:.0%} against {champion}"


def traffic_summary(report: Mapping[str, Any]) -> str:
    """The custom model's share of traffic, for a subject line. `report` is empty if the rollout is unknown."""
    return f"custom model at {report['share']:.0%}" if report and _candidate(report) else "no model on trial"


def _candidate(report: Mapping[str, Any]) -> str | None:
    if report.get("experiment"):
        return str(report["experiment"])
    # An operator's model has a share from the start, and the name of its experiment from the first scan on.
    return "the model by path, before its first scan," if report["share"] > 0 else None
