"""Command `python -m savo_runtime.prepare`, waiting for dependencies, and the readiness probe."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from savo_contracts.topics import TOPICS
from savo_runtime.errors import DependencyDownError, FatalError
from savo_runtime.prepare import prepare
from savo_runtime.settings import RuntimeSettings
from savo_runtime.telemetry import probe
from savo_runtime.timing.availability import until_available
from tests.parts.addresses import free_port
from tests.parts.kafka import RealKafka
from tests.parts.s3 import S3Server


@pytest.mark.kafka
@pytest.mark.s3
async def test_bucket_and_topics_are_created_once(own_kafka: RealKafka, moto_s3: S3Server) -> None:
    settings = RuntimeSettings(
        kafka_bootstrap_servers=own_kafka.bootstrap_servers,
        s3_endpoint_url=moto_s3.endpoint_url,
        s3_region="us-east-1",
        r2_bucket_name="prepared",
        r2_access_key_id=moto_s3.access_key_id,
        r2_secret_access_key=moto_s3.secret_access_key,
    )
    created = await prepare(settings)
    assert {"bucket prepared", *(topic.name for topic in TOPICS)} <= set(created)
    assert await prepare(settings) == []


async def test_a_starting_dependency_is_waited_for() -> None:
    outcomes: list[Exception | None] = [
        DependencyDownError("kafka", "not yet"),
        DependencyDownError("kafka", "not yet"),
        None,
    ]

    async def attempt() -> str:
        if error := outcomes.pop(0):
            raise error
        return "there"

    assert await until_available(attempt, pause=0) == "there"


@pytest.mark.parametrize(
    ("error", "seconds"), [(DependencyDownError("kafka", "away"), -1.0), (FatalError("refused"), 90.0)]
)
async def test_a_dependency_that_stays_down_or_refuses_raises(error: Exception, seconds: float) -> None:
    async def attempt() -> None:
        raise error

    with pytest.raises(type(error)):
        await until_available(attempt, within=seconds, pause=0)


@contextmanager
def service_that_answers(status: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"status": status}).encode())

        def log_message(self, *_: object) -> None:
            """Logs nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_probe_prints_the_answer_of_readyz(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int, code: int
) -> None:
    with service_that_answers(status) as port:
        monkeypatch.setenv("SAVO_HTTP_PORT", str(port))
        assert probe.main() == code
    assert capsys.readouterr().out.strip() == f'{{"status": {status}}}'


def test_an_unreachable_service_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAVO_HTTP_PORT", str(free_port()))
    assert probe.main() == 1
    assert "no answer on port" in capsys.readouterr().out


def test_the_probe_uses_the_port_of_the_service() -> None:
    environments: list[dict[str, str]] = [
        {},
        {"SAVO_HTTP_PORT": "9000"},
        {"PORT": "80", "SAVO_HTTP_PORT": "9000"},
        {"PORT": ""},
    ]
    assert [probe.port_of(environment) for environment in environments] == [8000, 9000, 80, 8000]
