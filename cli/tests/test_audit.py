"""`savo audit`, against canned answers on a real port."""

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


def test_the_audit_log_says_who_did_what_from_what_to_what_and_why(savo: Savo, gateway: SmallGateway) -> None:
    gateway.says("GET", "/admin/audit", [MOVED])
    told = savo("audit", "--action", "share.changed", "--limit", 5)
    assert told.exit_code == 0, told.output
    for words in (
        "2026-03-10 09:30:35Z",
        "share.changed",
        "vision",
        "mia (key:ab12)",
        "share 0.05 → 0.0",
        "state running → rolled-back",
        "[tomatoes]",
    ):
        assert words in told.output
    assert gateway.asked[0][1] == "/admin/audit?limit=5&action=share.changed"


def test_for_machines_it_is_json(savo: Savo, gateway: SmallGateway) -> None:
    gateway.says("GET", "/admin/audit", [MOVED])
    assert json.loads(savo("audit", "--json").stdout) == [MOVED]


def test_an_empty_log_says_so(savo: Savo, gateway: SmallGateway) -> None:
    gateway.says("GET", "/admin/audit", [])
    assert "nothing was recorded yet" in savo("audit").output
