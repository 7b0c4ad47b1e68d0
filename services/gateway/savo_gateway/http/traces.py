"""From a scan to why it was answered as it was."""

from __future__ import annotations

from savo_contracts.envelope import named_id
from savo_contracts.topics import SCANS_CONFIRMED, SCANS_REQUESTED
from savo_gateway.http.shapes import Hop, ScanTrace
from savo_gateway.scans import Scan

__all__ = ["trace_of"]


def trace_of(scan: Scan) -> ScanTrace:
    result = scan.result
    return ScanTrace(
        scan_id=scan.scan_id,
        status=scan.status,
        experiment=result.experiment if result else None,
        bucket=result.bucket if result else None,
        share=result.share if result else None,
        assigned_arm=result.assigned_arm if result else None,
        served_by=result.served_by if result else None,
        model_version=result.model_version if result else None,
        threshold=None,
        scan_confidence=result.scan_confidence if result else None,
        fallback_reason=result.fallback_reason if result else None,
        duration_ms=result.duration_ms if result else None,
        image=scan.image.model_dump(mode="json"),
        hops=_hops(scan),
        records=_records(scan),
    )


def _hops(scan: Scan) -> list[Hop]:
    times = {
        "accepted": scan.requested_at,
        "answered": scan.result.completed_at if scan.result else None,
        "known to the gateway": scan.finished_at,
        "confirmed": scan.confirmation.confirmed_at if scan.confirmation else None,
        "expires": scan.expires_at if not scan.done else None,
    }
    return sorted((Hop(hop=hop, at=at) for hop, at in times.items() if at), key=lambda hop: hop.at)


def _records(scan: Scan) -> list[dict[str, object]]:
    """The gateway's own events; their ids are derived from what they are about."""
    records: list[dict[str, object]] = [{"topic": SCANS_REQUESTED.name, "event_id": str(named_id(f"scan-requested/{scan.scan_id}"))}]
    if scan.confirmation and scan.confirmation.published:
        event_id = named_id(f"scan-confirmed/{scan.scan_id}/{scan.confirmation.revision}")
        records.append({"topic": SCANS_CONFIRMED.name, "event_id": str(event_id)})
    return records
