"""`savo audit`, against prepared answers on a real port."""

from __future__ import annotations

import json

from cli.tests.conftest import Savo
from cli.tests.small_gateway import SmallGateway

MOVED = {
    "action": "share.changed",
    "by": "mia (key:ab12)",
    "about": "vision",
    "before": {"share": 0.05, "state": "running"},
    "after": {"share": 0.0, "state": "rolled-back"},
    "reason": "it sees [tomatoes] everywhere",
    "trace_id": None,
    "recorded_at": "2026-03-10T09:30:35.120000Z",
}


def test_the_audit_log_shows_who_changed_what_and_why(savo: Savo, gateway: SmallGateway) -> None:
    gateway.answers_with("GET", "/admin/audit", [MOVED])
    result = savo("audit", "--action", "share.changed", "--limit", 5)
    assert result.exit_code == 0, result.output
    for text in (
        "2026-03-10 09:30:35Z",
        "share.changed",
        "vision",
        "mia (key:ab12)",
        "share 0.05 → 0.0",
        "state running → rolled-back",
        "[tomatoes]",
    ):
        assert text in result.output
    assert gateway.requests[0][1] == "/admin/audit?limit=5&action=share.changed"


def test_with_json_the_entries_are_printed_unchanged(savo: Savo, gateway: SmallGateway) -> None:
    gateway.answers_with("GET", "/admin/audit", [MOVED])
    assert json.loads(savo("audit", "--json").stdout) == [MOVED]


def test_an_empty_audit_log_is_reported_as_empty(savo: Savo, gateway: SmallGateway) -> None:
    gateway.answers_with("GET", "/admin/audit", [])
    assert "nothing was recorded yet" in savo("audit").output
