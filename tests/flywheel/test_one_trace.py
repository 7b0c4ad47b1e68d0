"""Traces and logs of one scan across processes: gateway and vision send OTLP to a collector on a local port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2

from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import draw_scenes
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker
from tests.parts.addresses import free_port
from tests.parts.collector import Collector, running_collector

READY_SECONDS = 200.0
TRACE = "0af7651916cd43dd8448eb211c80319c"
PHONE = "b7ad6b7169203331"
KEY = "a-key-that-is-in-no-trace-and-no-log"


@contextmanager
def running(arguments: list[str], settings: dict[str, str], log: Path) -> Iterator[None]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SAVO_", "R2_", "OTEL_")) and name != "PORT"
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=clean | settings, stdout=subprocess.DEVNULL, stderr=output
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(90)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if httpx2.get(url, trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        assert time.monotonic() < deadline, f"{url} was not ready"
        time.sleep(0.1)


def scan_once(folder: Path, collector: Collector) -> str:
    """Send a scan within the phone's trace. Returns the scan id after all processes have ended, with all spans sent."""
    gateway, google = free_port(), free_port()
    write_scenes(folder / "truth", draw_scenes(1, seed=3))
    (photo,) = (folder / "truth" / "images").iterdir()
    with ExitStack() as stack:
        settings = {
            "SAVO_DATA_DIR": str(folder / "savo"),
            "SAVO_KAFKA_BOOTSTRAP_SERVERS": stack.enter_context(EmbeddedBroker()).bootstrap_servers,
            "SAVO_EMBEDDED_BROKER": "true",
            "SAVO_GOOGLE_BASE_URL": f"http://127.0.0.1:{google}",
            "GOOGLE_API_KEY": KEY,
            "SAVO_LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        }
        standin = [
            "savo_demo.standin",
            "--truth",
            str(folder / "truth"),
            "--port",
            str(google),
            "--latency-scale",
            "0",
            "--errors",
            "0",
        ]
        stack.enter_context(running(standin, {}, folder / "standin.log"))
        stack.enter_context(running(["savo_runtime", "vision"], settings, folder / "vision.log"))
        stack.enter_context(
            running(["savo_runtime", "gateway"], settings | {"PORT": str(gateway)}, folder / "gateway.log")
        )
        for url in (f"http://127.0.0.1:{google}/livez", f"http://127.0.0.1:{gateway}/readyz"):
            wait_for(url)
        answer = httpx2.post(
            f"http://127.0.0.1:{gateway}/v1/scans?wait=20",
            content=photo.read_bytes(),
            headers={"content-type": "image/jpeg", "traceparent": f"00-{TRACE}-{PHONE}-01"},
            timeout=90,
            trust_env=False,
        )
        assert answer.json()["status"] == "completed", answer.text
        return str(answer.json()["scan_id"])


def test_one_scan_is_one_trace_and_each_log_line_names_both(tmp_path: Path) -> None:
    with running_collector() as collector:
        scan_id = scan_once(tmp_path, collector)
    spans = collector.of_trace(TRACE)
    by_id = {span.span_id.hex(): span for _, span in spans}

    def parent_of(name: str) -> str:
        (span,) = [span for _, span in spans if span.name == name]
        parent = span.parent_span_id.hex()
        return "the phone" if parent == PHONE else by_id[parent].name

    chain = [
        "the phone",
        "POST /v1/scans",
        "scans.requested publish",
        "scans.requested process",
        "scans.completed publish",
        "scans.completed process",
    ]
    assert [parent_of(name) for name in chain[1:]] == chain[:-1]
    assert parent_of("object store put") == "POST /v1/scans"
    assert parent_of("object store get") == parent_of("provider call") == "scans.requested process"
    assert {by_id[span.parent_span_id.hex()].name for _, span in spans if span.name == "database transaction"} >= {
        "POST /v1/scans", "scans.requested process", "scans.completed process",
    }  # fmt: skip
    assert {service for service, _ in spans} == {"savo-gateway", "savo-vision"}
    assert KEY.encode() not in collector.received

    lines = {
        name: [json.loads(line) for line in (tmp_path / f"{name}.log").read_text().splitlines()]
        for name in ("gateway", "vision")
    }
    logged = [
        (name, line["event"], line["trace_id"])
        for name in lines
        for line in lines[name]
        if line.get("scan_id") == scan_id
    ]
    assert logged == [
        ("gateway", "scan.accepted", TRACE),
        ("gateway", "scan.completed", TRACE),
        ("vision", "scan.completed", TRACE),
    ]
    assert KEY not in (tmp_path / "gateway.log").read_text() + (tmp_path / "vision.log").read_text()
