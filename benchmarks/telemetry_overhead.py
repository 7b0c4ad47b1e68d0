"""Benchmark: cost of metrics, logs and traces. The peer is the same round trip without them.

With telemetry: counters, JSON log lines at level info, and every span sent by OTLP to a collector. Without:
SAVO_LOG_LEVEL=error, OTEL_SDK_DISABLED=true, and metrics that count nothing. Gateway and vision are the product's, and
yolov8n at 640 pixels answers every scan. CPU time is that of gateway and vision by the kernel's count, which is less
affected by other load than elapsed time.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # comes with ultralytics, which the benchmarks need anyway

from benchmarks.measurement import Figure
from benchmarks.photo_to_boxes import confident_model, photos
from benchmarks.product_process import best_engine
from benchmarks.scan_round_trip import Meter, measure, medians, process, ratio_of, wait_for, wait_for_file
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker

PORTS = {"with": 18441, "without": 18442}
WITHOUT = {"SAVO_LOG_LEVEL": "error", "OTEL_SDK_DISABLED": "true"}
PEER = "the same without"


def figures() -> Iterator[Figure]:
    photo = photos()["512 px"]
    with _contenders() as (urls, meters):
        ours, bare = asyncio.run(measure(urls, photo, meters))
    ours_values, peer_values = [result.p50 for result in ours], [result.p50 for result in bare]
    ratios = [b / a for a, b in zip(ours_values, peer_values, strict=True)]
    note = "metrics, JSON logs, OTLP; yolov8n answers; 0.97 is the limit"
    yield Figure(
        "scan with telemetry, p50",
        "ms",
        *medians(ours_values, peer_values, 1000, peer_name=PEER),
        *ratio_of(ratios),
        note,
    )
    ours_values, peer_values = [result.per_second for result in ours], [result.per_second for result in bare]
    ratios = [a / b for a, b in zip(ours_values, peer_values, strict=True)]
    yield Figure(
        "scans with telemetry",
        "per s",
        *medians(ours_values, peer_values, 1, peer_name=PEER),
        *ratio_of(ratios),
        "8 clients, all cores busy",
    )
    ours_values, peer_values = [result.cpu for result in ours], [result.cpu for result in bare]
    ratios = [b / a for a, b in zip(ours_values, peer_values, strict=True)]
    yield Figure(
        "CPU of a scan",
        "ms",
        *medians(ours_values, peer_values, 1000, peer_name=PEER),
        *ratio_of(ratios),
        "gateway and vision; 0.97 is the limit",
    )


@contextmanager
def _contenders() -> Iterator[tuple[tuple[str, str], tuple[Meter, Meter]]]:
    """Two complete products with separate brokers."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="savo-bench-", ignore_cleanup_errors=True))
        )
        collector = stack.enter_context(_collector())
        # Both products use the same engine.
        engine = {"SAVO_DETECTION_ENGINE": best_engine()}
        telemetry = {"SAVO_LOG_LEVEL": "info", "SAVO_LOG_FORMAT": "json", "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
        meters = (
            _product(stack, folder, "with", engine | telemetry),
            _product(stack, folder, "without", engine | WITHOUT),
        )
        urls = f"http://127.0.0.1:{PORTS['with']}", f"http://127.0.0.1:{PORTS['without']}"
        for url in urls:
            wait_for(f"{url}/readyz")
        yield urls, meters


def _product(stack: ExitStack, folder: Path, name: str, telemetry: dict[str, str]) -> Meter:
    broker = stack.enter_context(EmbeddedBroker()).bootstrap_servers
    settings = {
        "SAVO_DATA_DIR": str(folder / name),
        "SAVO_KAFKA_BOOTSTRAP_SERVERS": broker,
        "SAVO_EMBEDDED_BROKER": "true",
        "SAVO_RATE_LIMIT_PER_MINUTE": "0",
        "GOOGLE_API_KEY": "unused",
        "SAVO_USE_CUSTOM_VISION": "true",
        "SAVO_CUSTOM_VISION_MODEL_PATH": str(confident_model().resolve()),
        "SAVO_CUSTOM_VISION_ROLLOUT": "1",
        **telemetry,
    }
    module = "savo_runtime" if name == "with" else "benchmarks.without_metrics"
    vision, gateway = folder / f"{name}-vision.log", folder / f"{name}-gateway.log"
    pids = [
        stack.enter_context(process(["-m", module, "vision"], settings, log=vision)),
        stack.enter_context(process(["-m", module, "gateway"], settings | {"PORT": str(PORTS[name])}, log=gateway)),
    ]
    _wait_for_vision(folder / name)
    return lambda: sum(_cpu_seconds(pid) for pid in pids)


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _wait_for_vision(data_dir: Path) -> None:
    path = data_dir / "run" / "vision.json"
    wait_for_file(path)
    wait_for(f"{json.loads(path.read_text())['url']}/readyz")


@contextmanager
def _collector() -> Iterator[str]:
    """An OTLP endpoint that discards its input."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """No log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
