"""The gateway as it is wired: settings, tables, subscriptions, the rollout client and the pages."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from savo_contracts.rollout import RolloutChanged, RolloutState
from savo_contracts.topics import TOPICS
from savo_gateway.adapters.rollout_client import HttpRolloutClient
from savo_gateway.adapters.tables import Base
from savo_gateway.errors import RolloutUnavailableError
from savo_gateway.settings import GatewaySettings
from savo_runtime.settings import load_settings
from savo_runtime.testing import assert_migrations_match
from services.gateway.tests.harness import GatewayHarness


async def test_migrations_make_the_tables_that_the_code_uses() -> None:
    await assert_migrations_match("savo_gateway.migrations", Base.metadata)


async def test_every_topic_that_names_the_gateway_is_read(gateway: GatewayHarness) -> None:
    topics = [reader.topic for reader in gateway.service.subscriptions] + [
        reader.topic for reader in gateway.service.snapshots
    ]
    read = {topic.name for topic in topics}
    assert read == {topic.name for topic in TOPICS if "gateway" in topic.consumers}


@pytest.mark.parametrize(
    ("variables", "port"),
    [({}, 8000), ({"SAVO_HTTP_PORT": "9000"}, 9000), ({"PORT": "10000", "SAVO_HTTP_PORT": "9000"}, 10000)],
    ids=["neither", "SAVO_HTTP_PORT", "PORT"],
)
def test_the_port_of_the_host_takes_precedence(monkeypatch: pytest.MonkeyPatch, variables: Any, port: Any) -> None:
    for name in ("PORT", "SAVO_HTTP_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings(GatewaySettings).http_port == port


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SAVO_AUTH", "maybe"),
        ("SAVO_AUTH", "jwt"),
        ("SAVO_MAX_UPLOAD_MB", "0"),
        ("SAVO_ROLLOUT_URL", "rollout"),
        ("PORT", "http"),
    ],
)
def test_an_invalid_setting_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: Any, value: Any
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as stop:
        load_settings(GatewaySettings)
    output = capsys.readouterr().err
    assert stop.value.code == 2
    assert output.count("\n") == 1
    assert variable in output


# the rollout client -------------------------------------------------------------------------------------------------


def rollout_client(answer: Any) -> HttpRolloutClient:
    return HttpRolloutClient("http://rollout/", transport=httpx2.MockTransport(answer))


async def test_the_rollout_client_passes_commands_and_answers_on() -> Any:
    requests: list[httpx2.Request] = []

    def rollout(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return (
            httpx2.Response(409, json={"code": "not-possible"})
            if request.method == "PUT"
            else httpx2.Response(200, json={"share": 0.25})
        )

    client = rollout_client(rollout)
    assert await client.show() == {"share": 0.25}
    assert await client.change({"action": "pause"}) == (409, {"code": "not-possible"})
    assert [str(request.url) for request in requests] == ["http://rollout/rollout"] * 2
    await client.close()


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(500),
        httpx2.Response(200, text="<html>"),
        httpx2.Response(200, json=[]),
        httpx2.ConnectError("refused"),
    ],
    ids=["500", "html", "list", "refused"],
)
async def test_a_rollout_service_without_a_valid_answer_is_unavailable(answer: httpx2.Response | Exception) -> None:
    def rollout(_request: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    client = rollout_client(rollout)
    with pytest.raises(RolloutUnavailableError):
        await client.show()
    await client.close()


def changed(sequence: int, share: float, moment: Any) -> RolloutChanged:
    return RolloutChanged(
        sequence=sequence,
        state=RolloutState.RUNNING,
        share=share,
        reason="a step",
        changed_by="rollout",
        changed_at=moment,
    )


async def test_without_the_rollout_service_its_newest_event_is_shown_and_commands_fail(
    gateway: GatewayHarness,
) -> None:
    assert (await gateway.http.get("/admin/rollout")).status_code == 503
    for event in (changed(2, 0.25, gateway.clock()), changed(1, 0.05, gateway.clock())):
        await gateway.deliver(event)
    shown = await gateway.http.get("/admin/rollout")
    assert (shown.status_code, shown.json()["share"]) == (200, 0.25)
    assert "does not answer" in shown.json()["source"]
    command = await gateway.http.put("/admin/rollout", json={"action": "pause", "reason": "lunch"})
    assert (command.status_code, command.json()["code"]) == (503, "rollout-away")
    assert command.headers["retry-after"] == "5"


# pages and documentation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_loads_only_files_of_this_server_and_all_of_them_exist(gateway: GatewayHarness, path: str) -> None:
    answer = await gateway.http.get(path)
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", answer.text)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assets = re.findall(r"""(?:src|href)=["'](/page/[^"']+)""", answer.text)
    assert assets
    for asset in assets:
        assert (await gateway.http.get(asset)).status_code == 200
    assert (await gateway.http.get("/page/index.html")).status_code == 404


async def test_the_openapi_document_has_every_route_with_its_tag(gateway: GatewayHarness) -> None:
    document = (await gateway.http.get("/openapi.json")).json()
    assert {tag["name"] for tag in document["tags"]} == {"scans", "training", "recipes", "users", "app", "admin"}
    routes = {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(routes) == {
        ("POST", "/v1/scans"),
        ("GET", "/v1/scans"),
        ("GET", "/v1/scans/{scan_id}"),
        ("GET", "/v1/scans/{scan_id}/events"),
        ("GET", "/v1/scans/{scan_id}/photo"),
        ("GET", "/v1/scans/{scan_id}/trace"),
        ("POST", "/v1/scans/{scan_id}/confirmation"),
        ("GET", "/v1/users/{user_id}/consent"),
        ("PUT", "/v1/users/{user_id}/consent"),
        ("POST", "/api/scanning/analyze-image"),
        ("POST", "/api/scanning/confirm-ingredients"),
        ("GET", "/api/scanning/history"),
        ("POST", "/api/scanning/feedback"),
        ("GET", "/training/stats"),
        ("GET", "/training/progress"),
        ("GET", "/training/corrections"),
        ("GET", "/training/export"),
        ("GET", "/training/export/{table}"),
        ("POST", "/training/upload-image"),
        ("POST", "/training/submit"),
        ("POST", "/inventory/scan"),
        ("GET", "/health"),
        ("GET", "/admin/rollout"),
        ("PUT", "/admin/rollout"),
        ("GET", "/admin/audit"),
        ("GET", "/admin/subject"),
        ("GET", "/admin/review"),
        ("GET", "/admin/review/subjects"),
        ("GET", "/admin/review/{review_id}/photo"),
        ("POST", "/admin/review/{review_id}"),
        ("POST", "/admin/digests/{week}"),
        ("DELETE", "/admin/digests/{week}"),
    }
    used = {tag for operation in routes.values() for tag in operation["tags"]}
    assert {tag["name"] for tag in document["tags"] if "Planned" not in tag["description"]} == used
    assert all(
        operation["tags"] and "application/problem+json" in operation["responses"]["default"]["content"]
        for operation in routes.values()
    )
    assert (
        "image" in routes["POST", "/v1/scans"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    )
