"""Service runner: start, health routes, workers, stop without loss, and errors in one line."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from savo_contracts.envelope import named_id
from savo_contracts.users import SubjectErased
from savo_runtime import service_runner
from savo_runtime.__main__ import main, run
from savo_runtime.errors import DependencyDownError, FatalError
from savo_runtime.http.server import PortTakenError
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker
from savo_runtime.service import Runtime, Service, ServiceDefinition, Worker
from savo_runtime.service_runner import RunningService, serve
from savo_runtime.settings import RuntimeSettings
from savo_runtime.testing import MemoryStore
from savo_runtime.timing.backoff import Backoff

QUICK = Backoff(0.001, 0.002)


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with EmbeddedBroker() as embedded:
        yield embedded.bootstrap_servers


@pytest.fixture
def settings(broker: str, tmp_path: Path) -> RuntimeSettings:
    return RuntimeSettings(data_dir=tmp_path, kafka_bootstrap_servers=broker, embedded_broker=True)


def definition(name: str = "thing", **parts: Any) -> ServiceDefinition:
    def build(_settings: RuntimeSettings, runtime: Runtime) -> Service:
        arguments = {key: value(runtime) if key == "workers" else value for key, value in parts.items()}
        return Service(name=name, **arguments)

    return ServiceDefinition(name, RuntimeSettings, build)


@asynccontextmanager
async def served(
    settings: RuntimeSettings, *definitions: ServiceDefinition
) -> AsyncIterator[dict[str, RunningService]]:
    """Running services by name. At the end they are stopped, and their errors are raised."""
    stop, started = asyncio.Event(), asyncio.Event()
    running: dict[str, RunningService] = {}

    def note(service: RunningService) -> None:
        running[service.name] = service
        if len(running) == len(definitions):
            started.set()

    by_name = {definition.name: settings for definition in definitions}
    task = asyncio.create_task(serve(definitions, by_name, stop=stop, on_started=note, backoff=QUICK))
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=90)
    waiting.cancel()
    try:
        if not task.done():
            yield running
    finally:
        stop.set()
        await asyncio.wait_for(task, 90)


async def get(url: str) -> httpx2.Response:
    async with httpx2.AsyncClient() as client:
        return await client.get(url)


async def test_a_started_service_is_ready_and_writes_its_url(settings: RuntimeSettings) -> None:
    async with served(settings, definition()) as running:
        url = running["thing"].url
        ready = await get(f"{url}/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert set(ready.json()["checks"]) == {"database", "object-store", "kafka"}
        assert (await get(f"{url}/livez")).json() == {"service": "thing", "status": "alive"}
        assert "savo_consumer_lag" in (await get(f"{url}/metrics")).text
        assert json.loads((settings.data_dir / "run" / "thing.json").read_text()) == {"pid": os.getpid(), "url": url}
    assert not (settings.data_dir / "run" / "thing.json").exists()


async def test_prometheus_finds_one_target_with_the_services_of_a_process(
    settings: RuntimeSettings,
) -> None:
    async with served(settings, definition()) as running:
        found = json.loads((settings.data_dir / "run" / "prometheus" / "thing.json").read_text())
        assert found == [{"targets": [running["thing"].url.removeprefix("http://")], "labels": {"service": "thing"}}]
        assert 'savo_service_info{service="thing"} 1.0' in (await get(f"{running['thing'].url}/metrics")).text


async def test_a_failed_check_turns_readiness_red_with_its_reason(settings: RuntimeSettings) -> None:
    async def check() -> None:
        raise RuntimeError("no model is loaded")

    async with served(settings, definition(checks={"model": check})) as running:
        ready = await get(f"{running['thing'].url}/readyz")
        assert ready.status_code == 503
        assert ready.json()["checks"]["model"] == {"ok": False, "reason": "no model is loaded"}


async def test_the_app_of_the_service_is_served_with_the_health_routes_and_its_lifespan(
    settings: RuntimeSettings,
) -> None:
    lifespan: list[str] = []

    @asynccontextmanager
    async def live(_app: Starlette) -> AsyncIterator[None]:
        lifespan.append("up")
        yield
        lifespan.append("down")

    async def thing(request: Request) -> JSONResponse:
        return JSONResponse({"id": request.path_params["id"]})

    app = Starlette(routes=[Route("/things/{id}", thing)], lifespan=live)
    async with served(settings, definition(app=app)) as running:
        assert (await get(f"{running['thing'].url}/things/7")).json() == {"id": "7"}
        assert (await get(f"{running['thing'].url}/nothing")).status_code == 404
        metrics = (await get(f"{running['thing'].url}/metrics")).text
        assert 'savo_http_request_duration_seconds_count{method="GET",route="/things/{id}",status="200"}' in metrics
    assert lifespan == ["up", "down"]


async def test_of_several_services_in_a_process_only_one_gets_the_configured_port(settings: RuntimeSettings) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with served(settings.model_copy(update={"http_port": port}), definition("one"), definition("two")) as running:
        assert running["one"].url == f"http://127.0.0.1:{port}"
        assert (await get(f"{running['two'].url}/livez")).json()["service"] == "two"


async def test_hooks_run_in_order_around_the_service(settings: RuntimeSettings) -> None:
    calls: list[str] = []

    def hook(name: str) -> Callable[[], Any]:
        async def note() -> None:
            calls.append(name)

        return note

    async with served(
        settings, definition(on_start=[hook("start 1"), hook("start 2")], on_stop=[hook("stop 1"), hook("stop 2")])
    ):
        assert calls == ["start 1", "start 2"]
    assert calls[2:] == ["stop 1", "stop 2"]


async def test_a_crashed_worker_is_restarted(settings: RuntimeSettings) -> None:
    runs: list[int] = []
    third = asyncio.Event()

    async def crash() -> None:
        runs.append(len(runs))
        if len(runs) < 3:
            raise RuntimeError("a bug")
        third.set()
        await asyncio.Event().wait()

    async with served(settings, definition(workers=lambda _runtime: [Worker("crashing", crash)])):
        await asyncio.wait_for(third.wait(), 90)
    assert len(runs) == 3


async def test_a_worker_with_an_interval_is_repeated_and_restarted_after_a_crash(
    settings: RuntimeSettings,
) -> None:
    runs: list[int] = []
    fifth = asyncio.Event()

    async def act() -> int:
        runs.append(len(runs))
        if len(runs) == 2:
            raise RuntimeError("a bug")
        if len(runs) == 5:
            fifth.set()
        return len(runs)

    async with served(settings, definition(workers=lambda _runtime: [Worker("recurring", act, every=0.001)])):
        await asyncio.wait_for(fifth.wait(), 90)


async def test_only_a_fatal_error_of_a_worker_stops_the_process(settings: RuntimeSettings) -> None:
    async def give_up() -> None:
        raise FatalError("SAVO_THING is invalid")

    with pytest.raises(FatalError, match="SAVO_THING is invalid"):
        async with served(settings, definition(workers=lambda _runtime: [Worker("fatal", give_up)])):
            await asyncio.sleep(5)


async def test_the_rows_left_in_the_outbox_are_published_before_the_stop(settings: RuntimeSettings) -> None:
    kept: list[Runtime] = []

    def keep(runtime: Runtime) -> list[Worker]:
        kept.append(runtime)
        return []

    async with served(settings, definition("gateway", workers=keep)), kept[0].database.session() as session:
        await kept[0].outbox.add(
            session, SubjectErased(subject="s1", erased_at=kept[0].clock()), event_id=named_id("x")
        )
    reopened = type(kept[0].database).open(settings, "gateway")
    async with reopened.session(read_only=True) as session:
        assert (await session.execute(text("SELECT count(*) FROM outbox"))).scalar_one() == 0
    await reopened.close()


async def test_a_port_in_use_is_named_with_the_next_step(settings: RuntimeSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"port {port} on 127.0.0.1 is in use: .*SAVO_HTTP_PORT"):
            async with served(settings.model_copy(update={"http_port": port}), definition()):
                pass


async def test_a_fatal_error_in_build_stops_all_services(settings: RuntimeSettings) -> None:
    def build(_settings: RuntimeSettings, _runtime: Runtime) -> Service:
        raise FatalError("GOOGLE_API_KEY is missing")

    with pytest.raises(FatalError, match="GOOGLE_API_KEY is missing"):
        async with served(settings, definition("one"), replace(definition("two"), build=build)):
            pass


async def test_a_stop_during_the_start_cancels_it(settings: RuntimeSettings) -> None:
    began, stop = asyncio.Event(), asyncio.Event()

    async def never() -> None:
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(serve([definition(on_start=[never])], {"thing": settings}, stop=stop))
    await asyncio.wait_for(began.wait(), 90)
    stop.set()
    await asyncio.wait_for(task, 90)


async def test_a_service_runs_but_is_not_ready_while_the_object_store_is_down(
    settings: RuntimeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    store.failure = DependencyDownError("object-store", "no route")
    monkeypatch.setattr(service_runner, "open_store", lambda _settings: store)
    async with served(settings, definition()) as running:
        ready = await get(f"{running['thing'].url}/readyz")
        assert ready.json()["checks"]["object-store"]["reason"] == "object-store is down: no route"
        store.failure = None
        assert (await get(f"{running['thing'].url}/readyz")).status_code == 200


PROGRAM = """
from savo_runtime.__main__ import run
from savo_runtime.service import Service, ServiceDefinition
from savo_runtime.settings import RuntimeSettings
raise SystemExit(run([ServiceDefinition("thing", RuntimeSettings, lambda settings, runtime: Service(name="thing"))]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_zero(broker: str, tmp_path: Path, number: signal.Signals) -> None:
    environment = {
        **os.environ,
        "SAVO_DATA_DIR": str(tmp_path),
        "SAVO_KAFKA_BOOTSTRAP_SERVERS": broker,
        "SAVO_EMBEDDED_BROKER": "true",
    }
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        before = list(takewhile(lambda line: "service.started" not in line, process.stderr))
        process.send_signal(number)
        _, after = process.communicate(timeout=90)
    assert process.returncode == 0, before
    assert "service.stopped" in after
    assert "Traceback" not in after


@pytest.fixture
def environment(broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a process that can start. The logging configuration is restored at the end."""
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SAVO_KAFKA_BOOTSTRAP_SERVERS", broker)
    monkeypatch.setenv("SAVO_EMBEDDED_BROKER", "true")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield monkeypatch
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_a_fatal_error_is_one_line_without_secrets_and_exit_code_one(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(_settings: RuntimeSettings, _runtime: Runtime) -> Service:
        raise FatalError("the key\nsk-0123456789abcdefghij is refused")

    environment.setenv("SAVO_HTTP_PROT", "1")
    assert run([ServiceDefinition("thing", RuntimeSettings, build)]) == 1
    errors = capsys.readouterr().err
    assert errors.splitlines()[-1] == "savo: the key *** is refused"
    assert "Traceback" not in errors
    assert "settings.unknown suggestion=SAVO_HTTP_PORT variable=SAVO_HTTP_PROT" in errors


def test_a_port_in_use_is_one_line_and_exit_code_one(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment.setenv("SAVO_HTTP_PORT", str(port))
        assert run([definition()]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f"savo: port {port} on 127.0.0.1 is in use: ")
    assert len(errors.splitlines()) == 1


def test_an_invalid_setting_is_exit_code_two_before_anything_starts(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("SAVO_HTTP_PORT", "eighty")
    with pytest.raises(SystemExit, match="2"):
        run([definition()])
    assert (
        capsys.readouterr().err
        == "savo: SAVO_HTTP_PORT='eighty' makes no sense: allowed is a whole number from 0 to 65535\n"
    )


def test_an_unknown_service_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["unknown"])
    assert "invalid choice: 'unknown'" in capsys.readouterr().err
