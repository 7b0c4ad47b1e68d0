"""The audit log as the gateway keeps and shows it, and whose name it puts under an order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from structlog.testing import capture_logs

from savo_contracts.audit import AuditRecorded
from savo_contracts.envelope import Envelope
from savo_contracts.topics import AUDIT_RECORDED
from savo_gateway.access.api_keys import create_key
from savo_gateway.access.records import Person, Scope
from savo_gateway.adapters.key_store import SqlKeys
from savo_gateway.adapters.rollout_client import HttpRolloutClient
from savo_gateway.http.admin_routes import AdminUseCases
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.test_access import SECRET, token


def entry(gateway: GatewayHarness, minutes: int, action: str = "share.changed", about: str = "vision") -> AuditRecorded:
    return AuditRecorded(
        action=action,
        by="anna",
        about=about,
        before={"share": 0.05},
        after={"share": 0.25},
        recorded_at=gateway.clock() + timedelta(minutes=minutes),
    )


async def shown(gateway: GatewayHarness, **asked: Any) -> list[int]:
    """Minutes after the clock's, in the order shown."""
    answer = await gateway.http.get("/admin/audit", params=asked)
    assert answer.status_code == 200, answer.text
    entries = [AuditRecorded.model_validate(one) for one in answer.json()]
    return [round((one.recorded_at - gateway.clock()).total_seconds() / 60) for one in entries]


async def test_entries_are_shown_newest_first_by_what_was_done_to_what_and_page_by_page(
    gateway: GatewayHarness,
) -> None:
    for told in (
        entry(gateway, 1),
        entry(gateway, 3, "alias.moved"),
        entry(gateway, 2, about="scans.requested.vision.dlq"),
    ):
        await gateway.deliver(told)
    assert await shown(gateway) == [3, 2, 1]
    assert await shown(gateway, action="share.changed") == [2, 1]
    assert await shown(gateway, about="vision", limit=1) == [3]
    assert await shown(gateway, before=(gateway.clock() + timedelta(minutes=3)).isoformat()) == [2, 1]


async def test_operators_learn_by_which_subject_the_events_name_a_user(gateway: GatewayHarness) -> None:
    subject = await gateway.provided(AdminUseCases).scans.subject_for(Person("user", "u1"), gateway.clock())
    assert (await gateway.http.get("/admin/subject", params={"user_id": "u1"})).json() == {"subject": subject}
    assert (await gateway.http.get("/admin/subject", params={"user_id": "nobody"})).json() == {"subject": None}


async def test_an_entry_that_comes_twice_is_kept_and_logged_once(gateway: GatewayHarness) -> None:
    (reader,) = [one for one in gateway.service.subscriptions if one.topic is AUDIT_RECORDED]
    envelope = Envelope.new(entry(gateway, 1), "rollout", event_id=uuid4())
    with capture_logs() as lines:
        await reader.handle(envelope)
        await reader.handle(envelope)
    assert await shown(gateway) == [1]
    (line,) = [line for line in lines if line["event"] == "audit.recorded"]
    assert (line["action"], line["by"], line["before"], line["after"]) == (
        "share.changed",
        "anna",
        {"share": 0.05},
        {"share": 0.25},
    )


class Desk:
    """A rollout service that notes who sends it orders."""

    def __init__(self) -> None:
        self.signed: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.signed.append(httpx2.Response(200, content=request.content).json()["by"])
        return httpx2.Response(200, json={})


@pytest.fixture
def desk(gateway: GatewayHarness) -> Desk:
    desk = Desk()
    rollout = HttpRolloutClient("http://rollout", transport=httpx2.MockTransport(desk))
    gateway.replace_provided(replace(gateway.provided(AdminUseCases), rollout=rollout))
    return desk


async def test_without_auth_an_order_is_signed_with_the_name_it_gives(gateway: GatewayHarness, desk: Desk) -> None:
    for name in ({"by": "mia"}, {}):
        await gateway.http.put("/admin/rollout", json={"action": "pause", "reason": "lunch", **name})
    assert desk.signed == ["mia", "anybody"]


class TestWithKeys:
    @pytest.fixture
    def gateway_settings(self) -> dict[str, Any]:
        return {"http_host": "0.0.0.0"}

    async def test_an_order_is_signed_with_the_key_that_sent_it_whatever_name_it_gives(
        self, gateway: GatewayHarness, desk: Desk
    ) -> None:
        key, plain = await create_key(SqlKeys(gateway.runtime.database), "desk", [Scope.OPS], gateway.clock)
        for name in ({"by": "mia"}, {}, {"by": "m" * 200}):
            await gateway.http.put(
                "/admin/rollout", json={"action": "pause", "reason": "lunch", **name}, headers={"X-API-Key": plain}
            )
        signature = f"key:{key.key_id}"
        assert desk.signed[:2] == [f"mia ({signature})", signature]
        assert len(desk.signed[2]) == 120
        assert desk.signed[2].endswith(f"({signature})")

    async def test_only_operators_read_it(self, gateway: GatewayHarness) -> None:
        _, plain = await create_key(SqlKeys(gateway.runtime.database), "app", [Scope.SCANS], gateway.clock)
        assert (await gateway.http.get("/admin/audit", headers={"X-API-Key": plain})).status_code == 403


class TestWithTokens:
    @pytest.fixture
    def gateway_settings(self) -> dict[str, Any]:
        return {"auth": "jwt", "jwt_key": SECRET}

    async def test_a_user_signs_by_their_random_subject_and_never_by_their_id(
        self, gateway: GatewayHarness, desk: Desk
    ) -> None:
        for _ in range(2):
            await gateway.http.put(
                "/admin/rollout",
                json={"action": "pause", "reason": "lunch"},
                headers=token("anna@example.com", scope="ops"),
            )
        assert desk.signed[0].startswith("subject:")
        assert "anna" not in desk.signed[0]
        assert len(set(desk.signed)) == 1
