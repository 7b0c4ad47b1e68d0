"""The audit log, and the author that a rollout command is recorded with."""

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


async def shown(gateway: GatewayHarness, **query: Any) -> list[int]:
    """Minutes after the clock's time, in the order shown."""
    answer = await gateway.http.get("/admin/audit", params=query)
    assert answer.status_code == 200, answer.text
    entries = [AuditRecorded.model_validate(document) for document in answer.json()]
    return [round((found.recorded_at - gateway.clock()).total_seconds() / 60) for found in entries]


async def test_entries_are_shown_newest_first_by_action_object_and_page(
    gateway: GatewayHarness,
) -> None:
    for recorded in (
        entry(gateway, 1),
        entry(gateway, 3, "alias.moved"),
        entry(gateway, 2, about="scans.requested.vision.dlq"),
    ):
        await gateway.deliver(recorded)
    assert await shown(gateway) == [3, 2, 1]
    assert await shown(gateway, action="share.changed") == [2, 1]
    assert await shown(gateway, about="vision", limit=1) == [3]
    assert await shown(gateway, before=(gateway.clock() + timedelta(minutes=3)).isoformat()) == [2, 1]


async def test_operators_can_look_up_the_subject_of_a_user(gateway: GatewayHarness) -> None:
    subject = await gateway.provided(AdminUseCases).scans.subject_for(Person("user", "u1"), gateway.clock())
    assert (await gateway.http.get("/admin/subject", params={"user_id": "u1"})).json() == {"subject": subject}
    assert (await gateway.http.get("/admin/subject", params={"user_id": "unknown"})).json() == {"subject": None}


async def test_a_repeated_entry_is_stored_and_logged_once(gateway: GatewayHarness) -> None:
    (reader,) = [subscription for subscription in gateway.service.subscriptions if subscription.topic is AUDIT_RECORDED]
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


class RecordingRollout:
    """A rollout service that records the author of each command."""

    def __init__(self) -> None:
        self.authors: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.authors.append(httpx2.Response(200, content=request.content).json()["by"])
        return httpx2.Response(200, json={})


@pytest.fixture
def rollout(gateway: GatewayHarness) -> RecordingRollout:
    recording = RecordingRollout()
    client = HttpRolloutClient("http://rollout", transport=httpx2.MockTransport(recording))
    gateway.replace_provided(replace(gateway.provided(AdminUseCases), rollout=client))
    return recording


async def test_without_auth_the_author_is_the_name_in_the_command(
    gateway: GatewayHarness, rollout: RecordingRollout
) -> None:
    for name in ({"by": "mia"}, {}):
        await gateway.http.put("/admin/rollout", json={"action": "pause", "reason": "lunch", **name})
    assert rollout.authors == ["mia", "anybody"]


class TestWithKeys:
    @pytest.fixture
    def gateway_settings(self) -> dict[str, Any]:
        return {"http_host": "0.0.0.0"}

    async def test_the_author_includes_the_api_key_besides_the_name_in_the_command(
        self, gateway: GatewayHarness, rollout: RecordingRollout
    ) -> None:
        key, plain = await create_key(SqlKeys(gateway.runtime.database), "operator", [Scope.OPS], gateway.clock)
        for name in ({"by": "mia"}, {}, {"by": "m" * 200}):
            await gateway.http.put(
                "/admin/rollout", json={"action": "pause", "reason": "lunch", **name}, headers={"X-API-Key": plain}
            )
        author = f"key:{key.key_id}"
        assert rollout.authors[:2] == [f"mia ({author})", author]
        assert len(rollout.authors[2]) == 120
        assert rollout.authors[2].endswith(f"({author})")

    async def test_only_operators_read_the_audit_log(self, gateway: GatewayHarness) -> None:
        _, plain = await create_key(SqlKeys(gateway.runtime.database), "app", [Scope.SCANS], gateway.clock)
        assert (await gateway.http.get("/admin/audit", headers={"X-API-Key": plain})).status_code == 403


class TestWithTokens:
    @pytest.fixture
    def gateway_settings(self) -> dict[str, Any]:
        return {"auth": "jwt", "jwt_key": SECRET}

    async def test_the_author_is_a_users_random_subject_rather_than_their_id(
        self, gateway: GatewayHarness, rollout: RecordingRollout
    ) -> None:
        for _ in range(2):
            await gateway.http.put(
                "/admin/rollout",
                json={"action": "pause", "reason": "lunch"},
                headers=token("anna@example.com", scope="ops"),
            )
        assert rollout.authors[0].startswith("subject:")
        assert "anna" not in rollout.authors[0]
        assert len(set(rollout.authors)) == 1
