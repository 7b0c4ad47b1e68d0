"""Telemetry: logs with masked secrets, health routes with reasons, HTTP metrics by route."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any, Literal

import httpx2
import pytest
import structlog
from opentelemetry import trace
from prometheus_client import REGISTRY
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from savo_runtime.http.server import with_health_routes
from savo_runtime.settings import RuntimeSettings
from savo_runtime.telemetry import health as health_module
from savo_runtime.telemetry.health import Check, health_app
from savo_runtime.telemetry.http import RequestTelemetry
from savo_runtime.telemetry.logs import configure_command_logs, configure_logs
from savo_runtime.telemetry.redaction import Redaction
from savo_runtime.telemetry.traces import configure_traces

SECRETS = RuntimeSettings(
    database_url=SecretStr("postgres://savo:hush-hush@db/savo"), kafka_sasl_password=SecretStr("kafka-pass")
)


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def logged(form: Literal["console", "json"] = "json", level: Literal["debug", "info"] = "info") -> io.StringIO:
    stream = io.StringIO()
    configure_logs([SECRETS.model_copy(update={"log_format": form, "log_level": level})], stream=stream)
    return stream


def test_an_event_is_one_json_line_with_its_bound_fields() -> None:
    stream = logged()
    structlog.contextvars.bind_contextvars(scan_id="s1")
    structlog.get_logger().info("scan.completed", seconds=0.5)
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert {name: event[name] for name in ("event", "level", "scan_id", "seconds")} == {
        "event": "scan.completed",
        "level": "info",
        "scan_id": "s1",
        "seconds": 0.5,
    }
    assert event["timestamp"].endswith("Z")


@pytest.mark.parametrize("form", ["console", "json"])
def test_an_error_is_one_line_with_its_type_and_place(form: Literal["console", "json"]) -> None:
    stream = logged(form)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        structlog.get_logger().exception("worker.crashed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: two" in line
    assert "test_an_error_is_one_line" in line


@pytest.mark.parametrize("form", ["console", "json"])
def test_secrets_are_masked_in_every_line(form: Literal["console", "json"]) -> None:
    stream = logged(form)
    log = structlog.get_logger()
    log.info(
        "a",
        api_key="abc",
        headers={"Authorization": "Bearer abcdefgh", "X-Api-Key": "def"},
        GOOGLE_API_KEY="ghi",
        password="p",
    )
    log.info(
        "b", note="connect to postgres://savo:hush-hush@db/savo with kafka-pass", nested=[{"client_secret": "jkl"}]
    )
    log.info(
        "c", url="https://x/?api_key=mno&b=1", text="Authorization: Bearer qrstuvwxyz", key="sk-0123456789abcdefgh"
    )
    logging.getLogger("some.library").warning("login %s failed for %s", "kafka-pass", "postgres://u:other-pass@h/d")
    try:
        raise RuntimeError("refused hush-hush")
    except RuntimeError:
        log.exception("d")
    text = stream.getvalue()
    for secret in ("abc", "def", "ghi", "jkl", "mno", "qrstuvwxyz", "hush-hush", "kafka-pass", "other-pass", "sk-0123"):
        assert secret not in text, secret
    assert len(text.splitlines()) == 5


def test_the_output_of_a_command_is_not_mixed_with_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_command_logs(SECRETS)
    log = structlog.get_logger()
    log.info("topics.created", topics=["a"])
    log.warning("database.unavailable", error="postgres://savo:hush-hush@db/savo\nis down")
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert "database.unavailable" in line
    assert "hush-hush" not in line


def test_numbers_of_tokens_are_not_masked() -> None:
    assert Redaction().value({"input_tokens": 5, "token": "x", "tokens": 7, "next_token": ""}) == {
        "input_tokens": 5,
        "token": "***",
        "tokens": 7,
        "next_token": "",
    }


def test_a_line_within_a_span_has_its_trace_id() -> None:
    configure_traces(SECRETS, "thing")
    stream = logged()
    with trace.get_tracer("test").start_as_current_span("work") as span:
        structlog.get_logger().info("a")
    assert json.loads(stream.getvalue())["trace_id"] == f"{span.get_span_context().trace_id:032x}"


def test_events_below_the_level_are_not_logged() -> None:
    stream = logged(level="info")
    structlog.get_logger().debug("a")
    logging.getLogger("aiokafka").warning("a routine event")
    assert stream.getvalue() == ""


async def passing() -> None:
    return None


async def failing() -> None:
    raise RuntimeError("cannot reach postgres://savo:hush-hush@db/savo")


async def hanging() -> None:
    await asyncio.Event().wait()


async def get(app: ASGIApp, path: str, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        return await client.get(path, headers=headers)


async def test_readiness_lists_each_check_with_the_reason_of_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "CHECK_SECONDS", 0.05)
    checks: dict[str, Check] = {"database": failing, "kafka": hanging, "store": passing}
    answer = await get(health_app("thing", lambda: checks, Redaction()), "/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "service": "thing",
        "status": "not ready",
        "checks": {
            "database": {"ok": False, "reason": "cannot reach postgres://***@db/savo"},
            "kafka": {"ok": False, "reason": "no answer in 0.05 s"},
            "store": {"ok": True},
        },
    }


async def test_readiness_is_green_when_every_check_passes_and_liveness_runs_none() -> None:
    app = health_app("thing", lambda: {"store": passing}, Redaction())
    assert (await get(app, "/readyz")).status_code == 200
    assert (await get(health_app("thing", lambda: {"store": failing}, Redaction()), "/livez")).status_code == 200


def measured(route: str, method: str, status: str) -> float:
    return (
        REGISTRY.get_sample_value(
            "savo_http_request_duration_seconds_count", {"route": route, "method": method, "status": status}
        )
        or 0.0
    )


async def test_requests_are_measured_by_route_template_never_by_path() -> None:
    async def scan(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    async def crash(_request: Request) -> PlainTextResponse:
        raise RuntimeError("a bug")

    app = RequestTelemetry(Starlette(routes=[Route("/measured/{id}", scan), Route("/crash", crash)]))
    await get(app, "/measured/1")
    await get(app, "/measured/2")
    await get(app, "/no/such/path")
    with pytest.raises(RuntimeError, match="a bug"):
        await get(app, "/crash")
    assert measured("/measured/{id}", "GET", "200") == 2
    assert measured("unmatched", "GET", "404") >= 1
    assert measured("/crash", "GET", "500") == 1


async def test_a_request_continues_the_trace_of_its_caller() -> None:
    configure_traces(SECRETS, "thing")

    async def where(_request: Request) -> JSONResponse:
        return JSONResponse({"trace": f"{trace.get_current_span().get_span_context().trace_id:032x}"})

    app = RequestTelemetry(Starlette(routes=[Route("/where", where)]))
    answer = await get(app, "/where", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert answer.json() == {"trace": "0af7651916cd43dd8448eb211c80319c"}


async def test_health_routes_are_served_with_any_app() -> None:
    async def everything(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("mine")(scope, receive, send)

    app = with_health_routes(everything, health_app("thing", dict, Redaction()))
    assert (await get(app, "/livez")).json()["service"] == "thing"
    assert (await get(app, "/anything")).text == "mine"
    without_own_app = with_health_routes(None, health_app("thing", dict, Redaction()))
    assert (await get(without_own_app, "/anything")).status_code == 404
