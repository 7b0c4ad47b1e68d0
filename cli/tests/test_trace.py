"""`savo trace`, against a prepared trace."""

from __future__ import annotations

import json

from cli.tests.conftest import Savo
from cli.tests.small_gateway import SCAN_ID, SmallGateway

NOON = "2026-01-05T12:00:0"


def _hop(name: str, seconds: str, record: str | None = None) -> dict[str, object]:
    return {"hop": name, "at": f"{NOON}{seconds}Z", "record": record}


TRACE = {
    "scan_id": SCAN_ID,
    "status": "completed",
    "standing": "confirmed, but no training sample: blurred: sharpness 2.1, limit 5",
    "next_step": None,
    "experiment": "v2",
    "bucket": 211,
    "share": 0.05,
    "assigned_arm": "candidate",
    "served_by": "google",
    "model_version": "gemini",
    "threshold": 0.6,
    "scan_confidence": 1.0,
    "fallback_reason": "low-confidence",
    "duration_ms": 842.0,
    "stages_ms": {"detect": 38.5, "provider": 780.3},
    "image": {"key": "scans/55/55.jpg", "width": 640, "height": 480},
    "hops": [
        _hop("accepted", "0.000"),
        _hop("published", "0.012", "scans.requested 3/141"),
        _hop("refused as a sample", "5.000", "samples.rejected 0/4"),
    ],
    "records": [{"topic": "samples.rejected", "partition": 0, "offset": 4, "note": "blurred: sharpness 2.1, limit 5"}],
}
UNANSWERED = {
    **dict.fromkeys(TRACE),
    "scan_id": SCAN_ID,
    "status": "queued",
    "standing": "in Kafka at scans.requested 3/141 for 30 s, no answer yet; it expires in 90 s",
    "next_step": "vision has not answered: savo doctor",
    "hops": TRACE["hops"][:2],  # type: ignore[index]
    "records": [],
}


def test_a_trace_is_a_timeline_with_records_and_the_decision(savo: Savo, gateway: SmallGateway) -> None:
    gateway.answers_with("GET", f"/v1/scans/{SCAN_ID}/trace", TRACE)
    result = savo("trace", SCAN_ID)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "12:00:00.012 +12 ms published scans.requested 3/141" in lines
    assert "12:00:05.000 +4988 ms refused as a sample samples.rejected 0/4 blurred: sharpness 2.1, limit 5" in lines
    assert "arm candidate: bucket 211 is below 500 (share 5%)" in lines
    assert "confidence 1.00, the custom model needs 0.60" in lines
    assert "fell back low-confidence" in lines


def test_an_unanswered_scan_shows_its_state_and_the_next_step(savo: Savo, gateway: SmallGateway) -> None:
    gateway.answers_with("GET", f"/v1/scans/{SCAN_ID}/trace", UNANSWERED)
    result = savo("trace", SCAN_ID)
    assert result.exit_code == 0, result.output
    assert "in Kafka at scans.requested 3/141 for 30 s" in result.output
    assert "next: vision has not answered: savo doctor" in result.output


def test_with_json_the_trace_of_the_gateway_is_printed_unchanged(savo: Savo, gateway: SmallGateway) -> None:
    gateway.answers_with("GET", f"/v1/scans/{SCAN_ID}/trace", TRACE)
    assert json.loads(savo("trace", SCAN_ID, "--json").stdout) == TRACE


def test_an_unknown_scan_exits_with_1(savo: Savo, gateway: SmallGateway) -> None:
    gateway.refuses("GET", f"/v1/scans/{SCAN_ID}/trace", 404, "scan-not-found", "there is no such scan")
    assert savo("trace", SCAN_ID).exit_code == 1
