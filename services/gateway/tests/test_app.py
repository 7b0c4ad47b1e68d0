"""The gateway as it is wired: settings, tables, subscriptions, the operators' desk and the pages."""

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
    ("given", "port"),
    [({}, 8000), ({"SAVO_HTTP_PORT": "9000"}, 9000), ({"PORT": "10000", "SAVO_HTTP_PORT": "9000"}, 10000)],
    ids=["neither", "ours", "the host's"],
)
def test_the_hosts_port_comes_first(monkeypatch: pytest.MonkeyPatch, given: Any, port: Any) -> None:
    for name in ("PORT", "SAVO_HTTP_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
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
def test_a_senseless_setting_stops_the_start_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: Any, value: Any
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as stop:
        load_settings(GatewaySettings)
    told = capsys.readouterr().err
    assert stop.value.code == 2
    assert told.count("\n") == 1
    assert variable in told


# the operators' desk ------------------------------------------------------------------------------------------------


def desk(answer: Any) -> HttpRolloutClient:
    return HttpRolloutClient("http://rollout/", transport=httpx2.MockTransport(answer))


async def test_the_desk_passes_orders_and_answers_on() -> Any:
    asked: list[httpx2.Request] = []

    def rollout(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return (
            httpx2.Response(409, json={"code": "not-possible"})
            if request.method == "PUT"
            else httpx2.Response(200, json={"share": 0.25})
        )

    hand = desk(rollout)
    assert await hand.show() == {"share": 0.25}
    assert await hand.change({"action": "pause"}) == (409, {"code": "not-possible"})
    assert [str(request.url) for request in asked] == ["http://rollout/rollout"] * 2
    await hand.close()


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
async def test_a_desk_without_a_proper_answer_is_away(answer: httpx2.Response | Exception) -> None:
    def rollout(_request: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    hand = desk(rollout)
    with pytest.raises(RolloutUnavailableError):
        await hand.show()
    await hand.close()


def changed(sequence: int, share: float, moment: Any) -> RolloutChanged:
    return RolloutChanged(
        sequence=sequence,
        state=RolloutState.RUNNING,
        share=share,
        reason="a step",
        changed_by="rollout",
        changed_at=moment,
    )


async def test_without_the_rollout_service_its_last_word_is_shown_and_nothing_is_changed(
    gateway: GatewayHarness,
) -> None:
    assert (await gateway.http.get("/admin/rollout")).status_code == 503
    for event in (changed(2, 0.25, gateway.clock()), changed(1, 0.05, gateway.clock())):
        await gateway.deliver(event)
    shown = await gateway.http.get("/admin/rollout")
    assert (shown.status_code, shown.json()["share"]) == (200, 0.25)
    assert "does not answer" in shown.json()["source"]
    order = await gateway.http.put("/admin/rollout", json={"action": "pause", "reason": "lunch"})
    assert (order.status_code, order.json()["code"]) == (503, "rollout-away")
    assert order.headers["retry-after"] == "5"


# pages and descriptions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_loads_nothing_from_elsewhere_and_all_that_it_loads_is_there(
    gateway: GatewayHarness, path: str
) -> None:
    answer = await gateway.http.get(path)
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", answer.text)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    parts = re.findall(r"""(?:src|href)=["'](/page/[^"']+)""", answer.text)
    assert parts
    for part in parts:
        assert (await gateway.http.get(part)).status_code == 200
    assert (await gateway.http.get("/page/index.html")).status_code == 404


async def test_the_description_names_every_way_in_with_its_tag(gateway: GatewayHarness) -> None:
    described = (await gateway.http.get("/openapi.json")).json()
    assert {tag["name"] for tag in described["tags"]} == {"scans", "training", "recipes", "users", "admin"}
    routes = {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
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
        ("GET", "/training/stats"),
        ("GET", "/training/progress"),
        ("POST", "/training/upload-image"),
        ("POST", "/training/submit"),
        ("GET", "/admin/rollout"),
        ("PUT", "/admin/rollout"),
        ("GET", "/admin/audit"),
        ("GET", "/admin/subject"),
        ("POST", "/admin/digests/{week}"),
        ("DELETE", "/admin/digests/{week}"),
    }
    used = {tag for operation in routes.values() for tag in operation["tags"]}
    assert {tag["name"] for tag in described["tags"] if "Planned" not in tag["description"]} == used
    assert all(
        operation["tags"] and "application/problem+json" in operation["responses"]["default"]["content"]
        for operation in routes.values()
    )
    assert (
        "image" in routes["POST", "/v1/scans"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    )
