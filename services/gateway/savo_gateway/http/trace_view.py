"""Trace of a scan: the routing decision, the hops with their times, and where the scan is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from savo_contracts.topics import TOPICS
from savo_gateway.http.schemas import Hop, RecordView, ScanTrace
from savo_gateway.scans.records import EventPosition, Scan
from savo_gateway.scans.status_summary import summarize

__all__ = ["trace_of"]

_HOPS = {topic.name: topic.trace_label for topic in TOPICS if topic.trace_label}
"""The hop that ends when an event is published, by topic. Vision publishes a result as soon as it is stored."""


def trace_of(scan: Scan, positions: Sequence[EventPosition], now: datetime) -> ScanTrace:
    """The answer of GET /v1/scans/{id}/trace. `positions`: of the scan's events, in order of publication."""
    result = scan.result
    summary = summarize(scan, positions, now)
    return ScanTrace(
        scan_id=scan.scan_id,
        status=scan.status,
        standing=summary.text,
        next_step=summary.next_step,
        experiment=result.experiment if result else None,
        bucket=result.bucket if result else None,
        share=result.share if result else None,
        assigned_arm=result.assigned_arm if result else None,
        served_by=result.served_by if result else None,
        model_version=result.model_version if result else None,
        threshold=result.threshold if result else None,
        scan_confidence=result.scan_confidence if result else None,
        fallback_reason=result.fallback_reason if result else None,
        duration_ms=result.duration_ms if result else None,
        stages_ms=result.stages_ms if result else {},
        image=scan.image.model_dump(mode="json"),
        hops=_hops(scan, positions),
        records=[RecordView.of(entry) for entry in positions],
    )


def _hops(scan: Scan, positions: Sequence[EventPosition]) -> list[Hop]:
    known = {
        "accepted": scan.requested_at,
        "taken up": scan.result.taken_up_at if scan.result else None,
        "detected": scan.result.completed_at if scan.result else None,
        "answered": scan.finished_at,
        "confirmed": scan.confirmation.confirmed_at if scan.confirmation and scan.confirmation.has_effect else None,
        "expires": scan.expires_at if not scan.done else None,
    }
    hops = [Hop(hop=hop, at=at) for hop, at in known.items() if at]
    hops += [
        Hop(hop=_HOPS[entry.topic], at=entry.published_at, record=f"{entry.topic} {entry.partition}/{entry.offset}")
        for entry in positions
        if entry.topic in _HOPS
    ]
    return sorted(hops, key=lambda hop: hop.at)
